"""Who was in the bed, and what was known of them, at the time of a frame.

Everything here is piecewise constant in event time: assignments, what is known of a patient,
problems that begin and end, ages, charted values that grow too old. For each bed the table
compiles the moments at which anything changes, so that a whole batch of frames is joined with
one binary search a bed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.record import Consciousness, PatientContext
from wardstream.contracts.timebase import NS_PER_S

CHARTED_VALIDITY_NS: Final = 12 * 3600 * NS_PER_S
"""How long a charted value stands. NEWS2 asks for a new set of observations at least every
12 hours even of a patient who scores 0 (Royal College of Physicians, 2017)."""

_YEAR_STARTS_NS: Final = np.array(
    [int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * NS_PER_S for year in range(1971, 2262)],
    dtype=np.int64,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBed:
    """In which bed one life of a device stands: an agent does not change beds while it runs."""

    device_id: str
    boot_id: str
    bed_id: str
    unit_id: str
    site_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """From `effective_time_ns` on the bed holds `pseudonym`; None: nobody."""

    event_id: str
    bed_id: str
    pseudonym: str | None
    effective_time_ns: int
    recorded_time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """From `effective_time_ns` on `context` is what is known of `pseudonym`."""

    event_id: str
    pseudonym: str
    effective_time_ns: int
    recorded_time_ns: int
    context: PatientContext


Event = TypeVar("Event", Assignment, Knowledge)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedContext:
    """What one stretch of time of one bed is joined with; None where it is not known.

    Attributes
    ----------
    bed_id, pseudonym : str or None
        Where, and who.
    age_years : int or None
        Year of the frame less year of birth: the age reached in that year.
    sex : str or None
        FHIR administrative gender.
    problems : tuple of str
        Names of the problems active then.
    consciousness, supplemental_oxygen, temperature_celsius, systolic_noninvasive_mmhg
        Charted values, None once older than `CHARTED_VALIDITY_NS`.
    hypercapnic_target : bool
        NEWS2 scale 2 applies.
    """

    bed_id: str | None = None
    pseudonym: str | None = None
    age_years: int | None = None
    sex: str | None = None
    problems: tuple[str, ...] | None = None
    consciousness: Consciousness | None = None
    supplemental_oxygen: bool | None = None
    temperature_celsius: float | None = None
    systolic_noninvasive_mmhg: float | None = None
    hypercapnic_target: bool = False


UNKNOWN: Final = JoinedContext()
"""Of a device that has not said yet in which bed it stands."""


@dataclass(slots=True)
class _Timeline:
    breaks_ns: NDArray[np.int64]
    stretches: dict[int, JoinedContext] = field(default_factory=dict[int, JoinedContext])


class ContextTable:
    """Beds, patients and what is known of them, with history.

    `version` is the change up to which the table follows the store.
    """

    def __init__(self) -> None:
        self.version = -1
        self._devices: dict[tuple[str, str], DeviceBed] = {}
        self._assignments: dict[str, dict[str, Assignment]] = {}
        self._knowledge: dict[str, dict[str, Knowledge]] = {}
        self._timelines: dict[str, _Timeline] = {}

    def follow(
        self,
        version: int,
        devices: Iterable[DeviceBed],
        assignments: Iterable[Assignment],
        knowledge: Iterable[Knowledge],
    ) -> None:
        """Take in what changed up to `version`; repeats change nothing."""
        for device_bed in devices:
            self.place(device_bed)
        for assignment in assignments:
            self.assign(assignment)
        for known in knowledge:
            self.learn(known)
        self.version = max(self.version, version)

    def place(self, device_bed: DeviceBed) -> None:
        """Note where a life of a device stands."""
        self._devices[device_bed.device_id, device_bed.boot_id] = device_bed

    def assign(self, assignment: Assignment) -> None:
        """Note who is in a bed from when on; a repeat changes nothing."""
        history = self._assignments.setdefault(assignment.bed_id, {})
        history[assignment.event_id] = assignment
        self._timelines.pop(assignment.bed_id, None)

    def learn(self, knowledge: Knowledge) -> None:
        """Note what is known of a patient from when on; a repeat changes nothing."""
        self._knowledge.setdefault(knowledge.pseudonym, {})[knowledge.event_id] = knowledge
        self._timelines.clear()  # in whichever beds the patient has been

    def device_bed(self, device_id: str, boot_id: str) -> DeviceBed | None:
        """Where that life of the device stands, None if it has not said."""
        return self._devices.get((device_id, boot_id))

    def at(self, bed_id: str, time_ns: int) -> JoinedContext:
        """What a frame of `bed_id` at `time_ns` is joined with."""
        assignment = _latest(self._assignments.get(bed_id, {}), time_ns)
        if assignment is None or assignment.pseudonym is None:
            return JoinedContext(bed_id=bed_id)
        knowledge = _latest(self._knowledge.get(assignment.pseudonym, {}), time_ns)
        if knowledge is None:
            return JoinedContext(bed_id=bed_id, pseudonym=assignment.pseudonym)
        return _joined(bed_id, assignment.pseudonym, knowledge.context, time_ns)

    def join(
        self,
        streams: Sequence[tuple[str, str]],
        stream_index: NDArray[np.intp],
        times_ns: NDArray[np.int64],
    ) -> tuple[list[JoinedContext], NDArray[np.intp]]:
        """The context of each of n frames.

        Parameters
        ----------
        streams : sequence of (device_id, boot_id)
            The lives of devices that occur in the batch.
        stream_index : ndarray of intp, shape (n_frames,)
            Which of `streams` each frame is from.
        times_ns : ndarray of int64, shape (n_frames,)
            Event times.

        Returns
        -------
        contexts : list of JoinedContext
            The distinct contexts that occur, and others.
        context_index : ndarray of intp, shape (n_frames,)
            Which of `contexts` each frame is joined with.
        """
        contexts: list[JoinedContext] = [UNKNOWN]
        context_index = np.zeros(len(times_ns), dtype=np.intp)
        order = np.argsort(stream_index, kind="stable")
        bounds = np.searchsorted(stream_index[order], np.arange(len(streams) + 1))
        for number, stream in enumerate(streams):
            device_bed = self._devices.get(stream)
            if device_bed is None:
                continue
            rows = order[bounds[number] : bounds[number + 1]]
            timeline = self._timeline(device_bed.bed_id)
            positions = np.searchsorted(timeline.breaks_ns, times_ns[rows], side="right")
            for position in set(positions.tolist()):
                contexts.append(self._stretch(device_bed.bed_id, timeline, position))
                context_index[rows[positions == position]] = len(contexts) - 1
        return contexts, context_index

    def _timeline(self, bed_id: str) -> _Timeline:
        timeline = self._timelines.get(bed_id)
        if timeline is None:
            timeline = _Timeline(self._breaks(bed_id))
            self._timelines[bed_id] = timeline
        return timeline

    def _stretch(self, bed_id: str, timeline: _Timeline, position: int) -> JoinedContext:
        joined = timeline.stretches.get(position)
        if joined is None:
            first_ns = int(timeline.breaks_ns[position - 1]) if position else 0
            joined = self.at(bed_id, first_ns) if position else JoinedContext(bed_id=bed_id)
            timeline.stretches[position] = joined
        return joined

    def _breaks(self, bed_id: str) -> NDArray[np.int64]:
        moments: set[int] = set()
        history = self._assignments.get(bed_id, {}).values()
        moments.update(assignment.effective_time_ns for assignment in history)
        for pseudonym in {assignment.pseudonym for assignment in history}:
            for knowledge in self._knowledge.get(pseudonym or "", {}).values():
                moments.add(knowledge.effective_time_ns)
                moments.update(_changes_within(knowledge.context))
        if not moments:
            return np.zeros(0, dtype=np.int64)
        found = np.array(sorted(moments), dtype=np.int64)
        return np.union1d(found, _YEAR_STARTS_NS)


def _latest(history: dict[str, Event], time_ns: int) -> Event | None:
    # Of two statements for the same moment the one recorded later corrects the other.
    effective = [event for event in history.values() if event.effective_time_ns <= time_ns]
    return max(
        effective,
        key=lambda e: (e.effective_time_ns, e.recorded_time_ns, e.event_id),
        default=None,
    )


def _changes_within(context: PatientContext) -> set[int]:
    moments: set[int] = set()
    for problem in context.problems:
        moments.update(
            t for t in (problem.onset_time_ns, problem.abatement_time_ns) if t is not None
        )
    if context.observed_time_ns is not None:
        moments.update((context.observed_time_ns, context.observed_time_ns + CHARTED_VALIDITY_NS))
    return moments


def _joined(bed_id: str, pseudonym: str, context: PatientContext, time_ns: int) -> JoinedContext:
    year = datetime.fromtimestamp(time_ns // NS_PER_S, UTC).year
    observed_ns = context.observed_time_ns
    charted = observed_ns is not None and 0 <= time_ns - observed_ns < CHARTED_VALIDITY_NS
    return JoinedContext(
        bed_id=bed_id,
        pseudonym=pseudonym,
        age_years=None if context.birth_year is None else max(0, year - context.birth_year),
        sex=None if context.sex == "unknown" else context.sex,
        problems=_active_problems(context, time_ns),
        consciousness=context.consciousness if charted else None,
        supplemental_oxygen=context.supplemental_oxygen if charted else None,
        temperature_celsius=context.temperature_celsius if charted else None,
        systolic_noninvasive_mmhg=context.systolic_noninvasive_mmhg if charted else None,
        hypercapnic_target=context.hypercapnic_target,
    )


def _active_problems(context: PatientContext, time_ns: int) -> tuple[str, ...]:
    names = {
        problem.display or problem.code
        for problem in context.problems
        if (problem.onset_time_ns is None or problem.onset_time_ns <= time_ns)
        and (problem.abatement_time_ns is None or time_ns < problem.abatement_time_ns)
    }
    return tuple(sorted(names))
