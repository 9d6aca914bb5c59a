"""All judgement for one bed: resample → ring → kernels → model → conditions → alert engine."""

from collections.abc import Callable

from edge_agent.core.frames import FrameMaker
from edge_agent.core.pipeline_types import (
    PipelineConfig,
    PipelineIdentity,
    PipelineOutput,
    PipelineReport,
)
from edge_agent.core.rhythm import PROBABILITY_FEATURES, Confirmation, RhythmJudge
from edge_agent.core.strips import StripCutter
from edge_agent.core.teller import AlertTeller
from edge_agent.core.tracks import TrackGroup
from wardstream.alerting.engine import EngineSnapshot, Finding
from wardstream.contracts.alert import (
    AcknowledgeCommand,
    AlertEvent,
    AlertKind,
    Condition,
    Transition,
)
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.waveform import NumericObservation, WaveformChunk
from wardstream.inference.port import RhythmRuntime

_LIVE_NS = 2 * NS_PER_S


class BedPipeline:
    """All judgement for one bed. Pure: no I/O, no clock.

    Parameters
    ----------
    identity : PipelineIdentity
        Who speaks.
    runtime : RhythmRuntime or None
        The model; without one the rules alarm alone and a technical alert says so.
    config : PipelineConfig
        What the site set.
    clock_ns : callable
        Wall clock, for ``decided_time_ns`` only.
    monotonic_ns : callable
        Monotonic clock, for frames only.
    state : EngineSnapshot or None
        Alerts that were not over when the agent last stopped.
    """

    def __init__(
        self,
        identity: PipelineIdentity,
        runtime: RhythmRuntime | None,
        config: PipelineConfig,
        *,
        clock_ns: Callable[[], int],
        monotonic_ns: Callable[[], int],
        state: EngineSnapshot | None = None,
    ) -> None:
        self._identity = identity
        self._config = config
        self._monotonic_ns = monotonic_ns
        self._groups: dict[tuple[str, ...], TrackGroup] = {}
        self._judge = RhythmJudge(runtime)
        self._vf = Confirmation(6, 8)
        self._teller = AlertTeller(identity, clock_ns, state)
        self._frames = FrameMaker(identity)
        self._strips = StripCutter(
            identity.device_id,
            identity.boot_id,
            before_s=config.strip_before_s,
            after_s=config.strip_after_s,
        )
        self._n_chunks = 0
        self._n_samples = 0
        self._now_ns = TimestampNs(0)

    def push(self, chunk: WaveformChunk, received_time_ns: int) -> list[PipelineOutput]:
        """Judge `chunk`; everything that is to be told, in order.

        Raises
        ------
        OutOfRangeError
            The chunk is another device's.
        """
        if chunk.device_id != self._identity.device_id:
            raise OutOfRangeError(f"a chunk of {chunk.device_id} came to another device")
        self._n_chunks += 1
        self._n_samples += chunk.samples.size
        group = self._group_of(chunk)
        outputs: list[PipelineOutput] = []
        for stretch in group.intake.push(chunk):
            if stretch.restart:
                self._frames.begin(stretch.start_time_ns)
                if stretch.clock_jumped:
                    self._frames.restart(stretch.start_time_ns)
                    self._now_ns = stretch.start_time_ns
            for _ in group.blocks(stretch):
                self._now_ns = max(self._now_ns, group.track_time_ns)
                outputs.extend(self._judge_now(group, received_time_ns))
        self._strips.keep(chunk)
        outputs.extend(self._complete(received_time_ns))
        return outputs

    def observe(self, observation: NumericObservation) -> None:
        """Take note of a monitor's numeric."""

    def tick(self, now_ns: TimestampNs, received_time_ns: int) -> list[PipelineOutput]:
        """What time alone brings: silence, expiry, seconds and strips nobody will complete."""
        outputs: list[PipelineOutput] = []
        silence_s = (now_ns - self._now_ns) / NS_PER_S if self._now_ns else 0.0
        finding = Finding(
            condition=Condition.NO_DATA,
            present=silence_s >= self._config.no_data_after_s,
            time_ns=now_ns,
            since_ns=self._now_ns,
            evidence={"silence_s": silence_s},
        )
        outputs.extend(self._tell([finding], received_time_ns))
        outputs.extend(self._teller.expire(now_ns, received_time_ns))
        outputs.extend(self._strips.due(now_ns))
        return outputs

    def acknowledge(
        self, command: AcknowledgeCommand, received_time_ns: int
    ) -> list[PipelineOutput]:
        """What changes with a clinician's acknowledgement."""
        time_ns = max(self._now_ns, command.issued_time_ns)
        return [*self._teller.acknowledge(command, TimestampNs(time_ns), received_time_ns)]

    def swap_runtime(self, runtime: RhythmRuntime) -> None:
        """Let `runtime` judge from the next window on; none goes unjudged."""
        self._judge.swap(runtime)

    def snapshot(self) -> EngineSnapshot:
        """What must be found again after a restart."""
        return self._teller.snapshot()

    @property
    def report(self) -> PipelineReport:
        """Counters since the pipeline was made."""
        counts = [group.intake.counts for group in self._groups.values()]
        quarantined = {
            code: reason
            for group in self._groups.values()
            for code, reason in group.quarantined.items()
        }
        return PipelineReport(
            n_chunks=self._n_chunks,
            n_samples=self._n_samples,
            n_windows_judged=self._judge.n_judged,
            n_windows_unjudged=self._judge.n_unjudged,
            n_windows_unusable=self._judge.n_unusable,
            n_chunks_repeated=sum(count.repeated for count in counts),
            n_chunks_late=sum(count.late for count in counts),
            n_samples_missing=sum(count.samples_missing for count in counts),
            n_clock_jumps=sum(count.clock_jumps for count in counts),
            last_sample_time_ns=self._now_ns,
            last_frame_time_ns=self._frames.last_start_ns,
            model_version=self._judge.model_version,
            quarantined=quarantined,
            channels=tuple(
                code
                for group in self._groups.values()
                for code in group.codes
                if code not in quarantined
            ),
        )

    def _group_of(self, chunk: WaveformChunk) -> TrackGroup:
        group = self._groups.get(chunk.codes)
        if (
            group is None
            or group.unit is not chunk.unit
            or group.intake.sampling_rate_hz != chunk.sampling_rate_hz
        ):
            group = TrackGroup(chunk.codes, chunk.unit, chunk.sampling_rate_hz)
            self._groups[chunk.codes] = group
        return group

    def _judge_now(self, group: TrackGroup, received_time_ns: int) -> list[PipelineOutput]:
        findings = [
            Finding(
                condition=Condition.MODEL_UNAVAILABLE,
                present=self._judge.runtime is None,
                time_ns=self._now_ns,
            ),
            Finding(condition=Condition.NO_DATA, present=False, time_ns=self._now_ns),
        ]
        if group.ecg is not None:
            for end_ns, leads in group.ecg.due_windows():
                verdict = self._judge.judge(leads, group.ecg.weights)
                if verdict is None or self._judge.runtime is None:
                    continue
                points = self._judge.runtime.manifest.operating_points
                p_vf = verdict.probabilities.get("vf", 0.0)
                confirmed = self._vf.push(p_vf >= points.get("vf", 0.5), end_ns)
                findings.append(
                    Finding(
                        condition=Condition.VENTRICULAR_FIBRILLATION,
                        present=confirmed,
                        time_ns=self._now_ns,
                        evidence={"probability_vf": p_vf},
                        judged_by_model=True,
                    )
                )
        return self._tell(findings, received_time_ns)

    def _tell(self, findings: list[Finding], received_time_ns: int) -> list[PipelineOutput]:
        events = self._teller.observe(findings, self._judge.model_version, received_time_ns)
        for event in events:
            self._order_strip(event)
        return [*events]

    def _order_strip(self, event: AlertEvent) -> None:
        if event.transition is Transition.ONSET and event.kind is AlertKind.PHYSIOLOGICAL:
            self._strips.order(event.alert_id, event.event_time_ns)

    def _complete(self, received_time_ns: int) -> list[PipelineOutput]:
        outputs: list[PipelineOutput] = []
        horizon = self._now_ns - _LIVE_NS
        ends = [g.end_time_ns for g in self._groups.values() if g.end_time_ns >= horizon]
        while ends and self._frames.due(min(ends)) is not None:
            outputs.append(self._frames.make(self._values(), self._monotonic_ns()))
        outputs.extend(self._strips.due(self._now_ns))
        return outputs

    def _values(self) -> dict[str, float]:
        values: dict[str, float] = {"n_alerts_active": self._teller.n_active}
        if self._judge.last is not None:
            for name, probability in self._judge.last.probabilities.items():
                values[PROBABILITY_FEATURES[name]] = probability
        if self._judge.runtime is not None:
            values["model_version"] = self._judge.runtime.manifest.version
        return values
