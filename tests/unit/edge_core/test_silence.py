"""A bed from which nothing ever came is as silent as one from which nothing comes any more."""

from uuid import uuid4

from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.pipeline_types import PipelineConfig, PipelineIdentity
from wardstream.contracts.alert import AlertEvent, Condition, Transition
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import GenerationMode, NumericObservation

START_S = 1_800_000_000


def quiet_bed() -> BedPipeline:
    identity = PipelineIdentity(
        device_id="d1", boot_id=str(uuid4()), generation_mode=GenerationMode.TEST
    )
    return BedPipeline(
        identity,
        None,
        PipelineConfig(),
        clock_ns=lambda: START_S * NS_PER_S,
        monotonic_ns=lambda: 0,
    )


def ticks(bed: BedPipeline, from_s: float, to_s: float) -> list[AlertEvent]:
    outputs = []
    quarters = range(int(from_s * 4), int(to_s * 4))
    for quarter in quarters:
        now_ns = TimestampNs(START_S * NS_PER_S + quarter * NS_PER_S // 4)
        outputs += bed.tick(now_ns, now_ns)
    return [
        output
        for output in outputs
        if isinstance(output, AlertEvent) and output.condition is Condition.NO_DATA
    ]


def test_a_device_that_never_connects_is_no_data() -> None:
    bed = quiet_bed()
    assert ticks(bed, 0, 4.5) == []
    (onset,) = ticks(bed, 4.5, 30)
    assert onset.transition is Transition.ONSET


def test_numerics_alone_are_data_while_they_stand() -> None:
    bed = quiet_bed()
    for second in range(0, 120, 30):
        bed.observe(
            NumericObservation(
                code="MDC_PULS_OXIM_SAT_O2",
                value=97.0,
                unit=Unit.PERCENT,
                determination_time_ns=TimestampNs((START_S + second) * NS_PER_S),
            )
        )
        assert ticks(bed, second, second + 30) == []
    (onset,) = ticks(bed, 120, 200)
    assert onset.transition is Transition.ONSET
