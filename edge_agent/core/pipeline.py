"""All judgement for one bed: resample → ring → kernels → model → conditions → alert engine."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.atrial_watch import AtrialWatch
from edge_agent.core.bed import LIVE_NS, Bed
from edge_agent.core.ecg_track import EcgTrack
from edge_agent.core.frames import FrameMaker
from edge_agent.core.groups import ChannelGroup
from edge_agent.core.intake import IntakeCounts, Stretch
from edge_agent.core.numerics_watch import NumericsWatch
from edge_agent.core.pipeline_types import (
    PipelineConfig,
    PipelineIdentity,
    PipelineOutput,
    PipelineReport,
)
from edge_agent.core.rhythm import PROBABILITY_FEATURES, Questions, answered
from edge_agent.core.silence_watch import SilenceWatch
from edge_agent.core.sparing import SHOCKABLE, RhythmWatch
from edge_agent.core.strips import StripCutter
from edge_agent.core.teller import AlertTeller
from wardstream.alerting.bed_alerts import Holder
from wardstream.alerting.conditions import RULES
from wardstream.alerting.detection import DETECTED, find_all
from wardstream.alerting.engine import EngineSnapshot, Finding
from wardstream.alerting.numerics import Limits
from wardstream.contracts.alert import AcknowledgeCommand, AlertKind, Condition, Transition
from wardstream.contracts.authority import PatientLimitsCommand, SilenceCommand
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_MS, NS_PER_S, TimestampNs
from wardstream.contracts.waveform import NumericObservation, WaveformChunk
from wardstream.inference.port import RhythmRuntime


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
        Alerts that were not over when the agent last stopped; they keep their ids.
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
        self._clock_ns = clock_ns
        self._monotonic_ns = monotonic_ns
        self._bed = Bed()
        self._rhythm = RhythmWatch(runtime)
        self._judge, self._memory = self._rhythm.judge, self._rhythm.memory
        self._silence = SilenceWatch(config.no_data_after_s)
        self._teller = AlertTeller(identity, clock_ns, state, config.rules)
        self._frames = FrameMaker(identity)
        self._strips = StripCutter(
            identity.device_id,
            identity.boot_id,
            before_s=config.strip_before_s,
            after_s=config.strip_after_s,
        )
        self._numerics = NumericsWatch(
            config.all_limits, lambda: self._teller.concerned, self._teller.is_active
        )
        self._numerics.follow(self._teller.limits)
        self._atrial = AtrialWatch(self._teller.is_active)
        self._pending: list[Finding] = []
        self._retired = IntakeCounts()
        self._n_chunks = 0
        self._n_samples = 0
        self._n_judged_before_frame = 0
        self._last_latency_ms = math.nan
        self._now_ns = TimestampNs(0)

    @property
    def model_every(self) -> int:
        """The model is asked at every so-manieth hop; 2 on a hot device."""
        return self._rhythm.every

    @model_every.setter
    def model_every(self, every: int) -> None:
        self._rhythm.every = every

    def push(self, chunk: WaveformChunk, received_time_ns: int) -> list[PipelineOutput]:
        """Judge `chunk`; everything that is to be told, in order.

        Raises
        ------
        OutOfRangeError
            The chunk is another device's.
        """
        steps = self.steps(chunk, received_time_ns)
        return [] if steps is None else answered(steps, self._judge.infer)

    def steps(
        self, chunk: WaveformChunk, received_time_ns: int
    ) -> Questions[list[PipelineOutput]] | None:
        """`push` in steps: each thing it yields is to be sent through the model.

        None where nothing can come of `chunk`, as of nearly every one: it has been taken in.

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
        stretches = group.intake.push(chunk)
        to_judge = False
        if len(stretches) == 1 and not (stretches[0].restart or stretches[0].clock_jumped):
            stretch = stretches[0]
            if group.ecg is None:
                passes = self._only_informs(group)
                if passes and group.put_off(stretch):
                    self._now_ns = TimestampNs(max(self._now_ns, group.newest_ns))
            elif passes := group.take_in(stretch):
                self._now_ns = TimestampNs(max(self._now_ns, group.newest_ns))
                to_judge = not self._nothing_new(group.ecg)
            if passes:
                stretches = []
            if passes and not to_judge and not self._may_complete(group):
                self._strips.keep(chunk)
                return None
        return self._remaining(chunk, group, stretches, received_time_ns, to_judge=to_judge)

    def _remaining(
        self,
        chunk: WaveformChunk,
        group: ChannelGroup,
        stretches: list[Stretch],
        received_time_ns: int,
        *,
        to_judge: bool,
    ) -> Questions[list[PipelineOutput]]:
        outputs: list[PipelineOutput] = []
        if to_judge:
            yield from self._judge_now(group, received_time_ns, outputs)
        for stretch in stretches:
            if stretch.restart or stretch.clock_jumped:
                self._begin(group, stretch)
            if self._only_informs(group):
                if group.put_off(stretch):
                    self._now_ns = TimestampNs(max(self._now_ns, group.newest_ns))
                continue
            for _ in group.blocks(stretch, self._anything_to_find):
                self._now_ns = TimestampNs(max(self._now_ns, group.newest_ns))
                if not self._nothing_new(group.ecg):
                    yield from self._judge_now(group, received_time_ns, outputs)
        self._strips.keep(chunk)
        # The last packet of each second speaks for the others: it is due for a window as well.
        self._last_latency_ms = (self._clock_ns() - received_time_ns) / NS_PER_MS
        if self._completes(group):
            complete_ns = self._bed.complete_until(self._now_ns)
            outputs.extend((yield from self._complete(complete_ns)))
        elif self._strips.ordered:
            outputs.extend(self._strips.due(self._now_ns))
        return outputs

    def _completes(self, group: ChannelGroup) -> bool:
        """Whether a second may be complete now that `group` has come this far."""
        # While this group, which is live, has not delivered a second, none is complete.
        end_ns = group.end_time_ns
        return end_ns >= self._frames.next_end_ns or end_ns < self._now_ns - LIVE_NS

    def _may_complete(self, group: ChannelGroup) -> bool:
        """Whether a second or a strip may be complete now that `group` has come this far."""
        return self._strips.ordered or self._completes(group)

    @property
    def model(self) -> RhythmRuntime | None:
        """The model that is asked."""
        return self._judge.asked

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Answers to what `steps` yields; None where the model gives none."""
        return self._judge.infer(windows)

    def observe(self, observation: NumericObservation) -> None:
        """Take note of a monitor's numeric; it is judged with the next chunk or tick."""
        self._silence.note_numeric(observation.determination_time_ns)
        value = self._bed.note(observation)
        self._pending += self._numerics.observe(
            observation.code, value, observation.determination_time_ns
        )

    def report_condition(self, finding: Finding, received_time_ns: int) -> list[PipelineOutput]:
        """What changes with a finding of the agent itself: link, storage, clock."""
        return self._tell([finding], received_time_ns)

    def tick(self, now_ns: TimestampNs, received_time_ns: int) -> list[PipelineOutput]:
        """What time alone brings: silence, expiry, seconds and strips nobody will complete."""
        outputs: list[PipelineOutput] = []
        silent = self._silence.finding(now_ns, self._now_ns)
        # Curves clear it, not a tick that happens to come early.
        heard = silent.present or not self._now_ns
        outputs.extend(self._tell([silent] if heard else [], received_time_ns))
        outputs.extend(self._tell([], received_time_ns))
        outputs.extend(self._teller.expire(now_ns, received_time_ns))
        self._numerics.follow(self._teller.limits)
        if now_ns - self._now_ns > NS_PER_S:
            outputs.extend(answered(self._complete(self._now_ns), self._judge.infer))
        outputs.extend(self._strips.due(now_ns))
        return outputs

    def acknowledge(
        self, command: AcknowledgeCommand, received_time_ns: int
    ) -> list[PipelineOutput]:
        """What changes with a clinician's acknowledgement; nothing if it is a repeat.

        Raises
        ------
        OutOfRangeError
            The command is for another device.
        """
        time_ns = TimestampNs(max(self._now_ns, command.issued_time_ns))
        return [*self._teller.acknowledge(command, time_ns, received_time_ns)]

    def order(
        self, command: SilenceCommand | PatientLimitsCommand, received_time_ns: int
    ) -> list[PipelineOutput]:
        """What changes with a person's order; nothing if it is a repeat.

        Raises
        ------
        OutOfRangeError
            The order is for another device, or its limits cannot be meant.
        """
        if isinstance(command, PatientLimitsCommand):
            self._numerics.check(command.limits)
        events = self._teller.order(command, received_time_ns)
        self._numerics.follow(self._teller.limits)
        return [*events]

    def hold(self, holders: frozenset[Holder], received_time_ns: int) -> list[PipelineOutput]:
        """What changes now that exactly `holders` are proven to be at their stations."""
        return [*self._teller.hold(holders, received_time_ns)]

    def set_site_limits(self, limits: Limits) -> None:
        """Put other limits of the site in force, without missing a sample."""
        self._numerics.set_site_limits(limits)

    def recall(self, chunks: Sequence[WaveformChunk]) -> None:
        """Take note of curves of the last life, oldest first, for strips around its alerts.

        An alert whose strip could not have been complete by the end of `chunks` gets it now.
        """
        for chunk in chunks:
            self._strips.keep(chunk)
        begun_ns = min((chunk.start_time_ns for chunk in chunks), default=0)
        ended_ns = max((chunk.end_time_ns for chunk in chunks), default=0)
        after_ns = round(self._config.strip_after_s * NS_PER_S)
        for alert in self._teller.snapshot().alerts:
            is_patients = RULES[alert.condition].kind is AlertKind.PHYSIOLOGICAL
            onset_ns = alert.onset_time_ns
            if is_patients and onset_ns >= begun_ns and onset_ns + after_ns > ended_ns:
                self._strips.order(alert.alert_id, onset_ns)

    def swap_runtime(self, runtime: RhythmRuntime) -> None:
        """Let `runtime` judge from the next window on; none goes unjudged."""
        answered(self._rhythm.settle(), self._judge.infer)
        self._judge.swap(runtime)

    def snapshot(self) -> EngineSnapshot:
        """What must be found again after a restart."""
        return self._teller.snapshot()

    @property
    def report(self) -> PipelineReport:
        """Counters since the pipeline was made."""
        counts = [self._retired, *(group.intake.counts for group in self._bed.groups.values())]
        quarantined = self._bed.quarantined
        codes = [code for group in self._bed.groups.values() for code in group.codes]
        return PipelineReport(
            n_chunks=self._n_chunks,
            n_samples=self._n_samples,
            n_windows_judged=self._rhythm.n_judged,
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
            channels=tuple(code for code in codes if code not in quarantined),
        )

    def _group_of(self, chunk: WaveformChunk) -> ChannelGroup:
        group = self._bed.groups.get(chunk.codes)
        if (
            group is not None
            and group.unit is chunk.unit
            and group.intake.sampling_rate_hz == chunk.sampling_rate_hz
        ):
            return group
        if group is not None:
            self._retired.add(group.intake.counts)
        group = ChannelGroup(chunk.codes, chunk.unit, chunk.sampling_rate_hz)
        self._bed.put(group)
        return group

    def _begin(self, group: ChannelGroup, stretch: Stretch) -> None:
        if group.ecg is not None and stretch.restart:
            self._rhythm.clear()
        elif group.ecg is not None:
            self._memory.move(stretch.stepped_ns)
        if stretch.clock_jumped:
            self._frames.restart(stretch.start_time_ns)
            self._now_ns = stretch.start_time_ns
            self._pending.append(
                Finding(condition=Condition.CLOCK_SKEW, present=True, time_ns=stretch.start_time_ns)
            )
        else:
            self._frames.begin(stretch.start_time_ns)

    def _only_informs(self, group: ChannelGroup) -> bool:
        """Whether an ECG that is live decides, and `group` is none."""
        if group.ecg is not None:
            return False
        ecg = self._bed.ecg(self._now_ns)
        return ecg is not None and max(self._now_ns, group.end_time_ns) - ecg.time_ns < NS_PER_S

    def _judge_now(
        self, group: ChannelGroup, received_time_ns: int, outputs: list[PipelineOutput]
    ) -> Questions[None]:
        ecg = self._bed.ecg(self._now_ns)
        if group.ecg is not None:
            if group.ecg.hop_is_due:
                # Evidence of these two states what the model holds of the last hop.
                calm = self._is_calm(ecg) and self._teller.concerned.isdisjoint(SHOCKABLE)
                yield from self._rhythm.steps(group.ecg, chosen=group.ecg is ecg, calm=calm)
        elif ecg is not None and self._now_ns - ecg.time_ns < NS_PER_S:
            return  # the ECG's own packets decide; this one only informs them
        # What is absent need not be found absent, many times a second.
        concerned = self._teller.concerned
        wanted = None
        if self._is_calm(ecg):
            if not concerned and not self._pending:
                return
            wanted = concerned
        findings: list[Finding] = []
        if wanted is None or not wanted.isdisjoint(DETECTED):
            signs = self._bed.signs(self._now_ns, self._judge, self._memory)
            findings = find_all(signs, self._teller.is_active, wanted)
        findings.extend(
            Finding(condition=condition, present=False, time_ns=self._now_ns)
            for condition in (Condition.NO_DATA, Condition.CLOCK_SKEW)
            if condition in concerned
        )
        outputs.extend(self._tell(findings, received_time_ns))

    def _nothing_new(self, ecg: EcgTrack | None) -> bool:
        """Whether `ecg` decides and nothing can come of it, as 24 times out of 25."""
        return (
            ecg is not None
            and not ecg.hop_is_due
            and not self._pending
            and not self._teller.concerned
            and self._is_calm(ecg)
        )

    def _anything_to_find(self) -> bool:
        """Whether more than the ECG itself makes it worth while to judge each block."""
        return bool(
            self._pending
            or self._teller.concerned
            or not self._is_calm(self._bed.ecg(self._now_ns))
        )

    def _is_calm(self, ecg: EcgTrack | None) -> bool:
        """Whether no condition of `find_all` can be present."""
        return (
            ecg is not None
            and ecg.is_quiet
            and not self._memory.any_confirmed
            and self._judge.runtime is not None
            and self._bed.judges(ecg, self._now_ns)
            and self._bed.is_attached(self._now_ns)
        )

    def _tell(self, findings: list[Finding], received_time_ns: int) -> list[PipelineOutput]:
        if self._pending:
            findings = [*self._pending, *findings]
            self._pending = []
        events = self._teller.observe(findings, self._judge.model_version, received_time_ns)
        if events:
            self._numerics.note(events)
        for event in events:
            if event.transition is Transition.ONSET and event.kind is AlertKind.PHYSIOLOGICAL:
                self._strips.order(event.alert_id, event.event_time_ns)
        return [*events]

    def _complete(self, until_ns: TimestampNs) -> Questions[list[PipelineOutput]]:
        outputs: list[PipelineOutput] = []
        while (second_ns := self._frames.due(until_ns)) is not None:
            yield from self._rhythm.newest()
            values = self._values(second_ns)
            # Told with the next packet, or by the watchdog where none comes.
            self._pending += self._numerics.second(values, self._bed, self._now_ns)
            atrial = self._atrial.second(self._bed, self._now_ns)
            if atrial.present or atrial.condition in self._teller.concerned:
                self._pending.append(atrial)
            outputs.append(self._frames.make(values, self._monotonic_ns()))
        outputs.extend(self._strips.due(self._now_ns))
        return outputs

    def _values(self, second_ns: TimestampNs) -> dict[str, float]:
        values = self._bed.frame_values(second_ns, self._now_ns)
        values["n_alerts_active"] = float(self._teller.n_active)
        values["n_windows_judged"] = float(self._rhythm.n_judged - self._n_judged_before_frame)
        self._n_judged_before_frame = self._rhythm.n_judged
        values["decision_latency_ms"] = self._last_latency_ms
        self._last_latency_ms = math.nan
        if self._judge.runtime is not None:
            values["model_version"] = float(self._judge.runtime.manifest.version)
        if self._judge.last is not None:
            for name, probability in self._judge.last.probabilities.items():
                values[PROBABILITY_FEATURES[name]] = probability
        return values
