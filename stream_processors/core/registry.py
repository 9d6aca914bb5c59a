"""Who was where and what is known of them, and what the streams have to be told of it.

The state is what the ledger holds, so that it can be made anew from there at any time; `take`
computes what a message changes. Said is only the difference to what was said before.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

from stream_processors.core.intake import Intake, Refusal, Statement, identity
from stream_processors.core.observation import Observation, PatientFacts
from stream_processors.core.occupancy import (
    NOBODY_KNOWN,
    Movement,
    MovementKind,
    Stay,
    claims,
    corrections,
    occupant,
    stays_of_bed,
    survivors,
)
from wardstream.contracts.record import PatientContext, Problem, RecordEvent, RecordEventKind
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

FUTURE_NS: Final = 3600 * NS_PER_S
"""How far ahead of our clock something may have happened: clocks differ, plans are not facts."""

_MAX_CHARTED: Final = 64
"""Sets of charted values kept a patient; each stands for 12 hours at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BedPoint:
    """What was said last of a bed for one moment."""

    bed_id: str
    effective_time_ns: int
    pseudonym: str | None
    recorded_time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPatient:
    """What is known under one pseudonym.

    Attributes
    ----------
    pseudonym : str
        Of whom.
    birth_date : date or None
        In memory to the day; the ledger keeps the year, as its middle.
    is_day_known : bool
        Whether `birth_date` is more than the year.
    sex : str or None
        FHIR administrative gender.
    problems : tuple of Problem
        The problem list.
    charted : tuple of PatientContext
        Sets of charted values by their own time, oldest first.
    """

    pseudonym: str
    birth_date: date | None = None
    is_day_known: bool = True
    sex: str | None = None
    problems: tuple[Problem, ...] = ()
    charted: tuple[PatientContext, ...] = ()


@dataclass(slots=True)
class Changes:
    """What taking an intake did: to be stored, then said."""

    movements: list[Movement] = field(default_factory=list[Movement])
    points: list[BedPoint] = field(default_factory=list[BedPoint])
    patients: list[KnownPatient] = field(default_factory=list[KnownPatient])
    events: list[RecordEvent] = field(default_factory=list[RecordEvent])
    observations: list[tuple[Observation, PatientFacts]] = field(
        default_factory=list[tuple[Observation, PatientFacts]]
    )
    refusals: list[Refusal] = field(default_factory=list[Refusal])


class Registry:
    """The ledger in memory.

    Parameters
    ----------
    movements, points, patients
        As stored.
    """

    def __init__(
        self,
        movements: Iterable[Movement] = (),
        points: Iterable[BedPoint] = (),
        patients: Iterable[KnownPatient] = (),
    ) -> None:
        self._movements: dict[str, Movement] = {}
        self._of_patient: defaultdict[str, list[Movement]] = defaultdict(list)
        self._survivors: dict[str, str] = {}
        self._members: defaultdict[str, set[str]] = defaultdict(set)
        self._of_encounter: defaultdict[str, set[str]] = defaultdict(set)
        self._claims: dict[str, list[Stay]] = {}
        self._claimants: defaultdict[str, set[str]] = defaultdict(set)
        self._stays: dict[str, list[Stay]] = {}
        self._patients = {patient.pseudonym: patient for patient in patients}
        self._points: defaultdict[str, dict[int, str | None]] = defaultdict(dict)
        self._contexts: defaultdict[str, dict[int, PatientContext]] = defaultdict(dict)
        self._recorded_ns = 0
        for point in points:
            self._points[point.bed_id][point.effective_time_ns] = point.pseudonym
            self._recorded_ns = max(self._recorded_ns, point.recorded_time_ns)
        self._add(list(movements))

    def survivor(self, pseudonym: str) -> str:
        """Who that patient is after all merges."""
        return self._survivors.get(pseudonym, pseudonym)

    def occupant(self, bed_id: str, time_ns: int) -> Stay | None:
        """Who was in the bed then."""
        return occupant(self._stays.get(bed_id, ()), time_ns)

    def stays(self, bed_id: str) -> Sequence[Stay]:
        """The bed's history."""
        return self._stays.get(bed_id, ())

    def facts(self, pseudonym: str) -> PatientFacts:
        """What is known of a patient, merged identifiers included."""
        known = self._known(self.survivor(pseudonym))
        return PatientFacts(birth_date=known.birth_date, sex=known.sex)

    def tell_again(self, now_ns: int) -> Changes:
        """What the streams were not told although it is stored: after a crash between the two."""
        changes = Changes()
        self._tell_beds(set(self._stays) | set(self._points), now_ns, changes)
        return changes

    def take(self, intake: Intake, now_ns: int) -> Changes:
        """Take in what a message says."""
        changes = Changes(refusals=list(intake.refusals))
        touched = self._take_movements(intake, now_ns, changes)
        if intake.pseudonym is not None and intake.updates_facts:
            self._learn(intake, changes)
            touched.add(self.survivor(intake.pseudonym))
        for pseudonym in sorted(touched):
            self._tell_context(pseudonym, now_ns, changes)
        for statement in intake.statements:
            self._resolve(intake, statement, now_ns, changes)
        return changes

    # ---- movements ------------------------------------------------------------------------

    def _take_movements(self, intake: Intake, now_ns: int, changes: Changes) -> set[str]:
        fresh: list[Movement] = []
        for movement in intake.movements:
            if movement.movement_id in self._movements:
                continue
            newest_ns = max(movement.effective_time_ns, movement.recorded_time_ns)
            if newest_ns > now_ns + FUTURE_NS:
                text = "it happened in the future (EVN-6, EVN-2, MSH-7)"
                changes.refusals.append(_refused("movement", "time_in_future", text, movement))
                continue
            fresh.append(movement)
        if not fresh:
            return set()
        changes.movements += fresh
        patients, beds = self._add(fresh)
        self._tell_beds(beds, now_ns, changes)
        return patients

    def _add(self, movements: Sequence[Movement]) -> tuple[set[str], set[str]]:
        """Take `movements` in; which patients and beds that may have changed."""
        touched: set[str] = set()
        for movement in movements:
            self._movements[movement.movement_id] = movement
            self._of_patient[movement.pseudonym].append(movement)
            touched |= {movement.pseudonym, movement.merged_into or movement.pseudonym}
            if movement.encounter_id is not None:
                self._of_encounter[movement.encounter_id].add(movement.pseudonym)
        if any(movement.kind is MovementKind.MERGE for movement in movements):
            touched |= self._merge()
        sharing = {p for who in touched for p in self._sharing(who)}
        patients = {self.survivor(pseudonym) for pseudonym in touched | sharing}
        beds: set[str] = set()
        for pseudonym in patients | touched:
            beds |= self._claim(pseudonym)
        for bed_id in beds:
            claimed = [c for p in self._claimants[bed_id] for c in self._claims[p]]
            self._stays[bed_id] = stays_of_bed(c for c in claimed if c.bed_id == bed_id)
        return patients, beds

    def _merge(self) -> set[str]:
        before = self._survivors
        merges = [m for m in self._movements.values() if m.kind is MovementKind.MERGE]
        self._survivors = survivors(merges)
        self._members.clear()
        for gone, stays in self._survivors.items():
            self._members[stays].add(gone)
        changed = {
            p for p in {*before, *self._survivors} if before.get(p) != self._survivors.get(p)
        }
        return changed | {before[p] for p in changed if p in before}

    def _sharing(self, pseudonym: str) -> set[str]:
        encounters = {m.encounter_id for m in self._of_patient[pseudonym]} - {None}
        return {p for e in encounters for p in self._of_encounter[e or ""]}

    def _claim(self, pseudonym: str) -> set[str]:
        """Compute anew where a patient was; the beds of before and now."""
        before = {claim.bed_id for claim in self._claims.get(pseudonym, ())}
        self._claims[pseudonym] = []
        if self.survivor(pseudonym) == pseudonym:
            members = (pseudonym, *sorted(self._members[pseudonym]))
            movements = [m for member in members for m in self._of_patient[member]]
            contested = {
                m.encounter_id for m in movements
                if m.encounter_id is not None
                and len({self.survivor(p) for p in self._of_encounter[m.encounter_id]}) > 1
            }  # fmt: skip
            self._claims[pseudonym] = claims(pseudonym, movements, contested)
        now = {claim.bed_id for claim in self._claims[pseudonym]}
        for bed_id in before - now:
            self._claimants[bed_id].discard(pseudonym)
        for bed_id in now:
            self._claimants[bed_id].add(pseudonym)
        return before | now

    def _tell_beds(self, beds: Iterable[str], now_ns: int, changes: Changes) -> None:
        for bed_id in sorted(beds):
            told = self._points[bed_id]
            for moment, who in corrections(told, self._stays.get(bed_id, ())):
                recorded_ns = self._next_recorded(now_ns)
                told[moment] = who
                point = BedPoint(
                    bed_id=bed_id,
                    effective_time_ns=moment,
                    pseudonym=who,
                    recorded_time_ns=recorded_ns,
                )
                changes.points.append(point)
                kind = RecordEventKind.RELEASED if who is None else RecordEventKind.ASSIGNED
                changes.events.append(_event(kind, bed_id, who or "", moment, recorded_ns))

    def _next_recorded(self, now_ns: int) -> int:
        # Of two statements for one moment the streams believe the one recorded later.
        self._recorded_ns = max(self._recorded_ns + 1, now_ns)
        return self._recorded_ns

    # ---- what is known --------------------------------------------------------------------

    def _learn(self, intake: Intake, changes: Changes) -> None:
        pseudonym = intake.pseudonym or ""
        old = self._patients.get(pseudonym, KnownPatient(pseudonym=pseudonym))
        problems = {(p.system, p.code, p.display): p for p in old.problems}
        for problem in intake.problems:
            problems.setdefault((problem.system, problem.code, problem.display), problem)
        charted = old.charted
        if intake.context is not None:
            stated = intake.context.problems
            problems.update({(p.system, p.code, p.display): p for p in stated})
            if intake.context.observed_time_ns is not None:
                times = {c.observed_time_ns: c for c in old.charted}
                times[intake.context.observed_time_ns] = replace(intake.context, problems=())
                charted = tuple(times[t] for t in sorted(times, key=lambda t: t or 0))
        new = KnownPatient(
            pseudonym=pseudonym,
            birth_date=intake.facts.birth_date or old.birth_date,
            is_day_known=intake.facts.birth_date is not None or old.is_day_known,
            sex=intake.facts.sex or old.sex,
            problems=tuple(problems.values()),
            charted=charted[-_MAX_CHARTED:],
        )
        if new != old:
            self._patients[pseudonym] = new
            changes.patients.append(new)

    def _known(self, survivor: str) -> KnownPatient:
        found = [
            self._patients[p]
            for p in (survivor, *sorted(self._members[survivor]))
            if p in self._patients
        ]
        problems = {(p.system, p.code, p.display): p for k in reversed(found) for p in k.problems}
        charted = {c.observed_time_ns: c for k in reversed(found) for c in k.charted}
        return KnownPatient(
            pseudonym=survivor,
            birth_date=next((k.birth_date for k in found if k.birth_date), None),
            is_day_known=next((k.is_day_known for k in found if k.birth_date), True),
            sex=next((k.sex for k in found if k.sex), None),
            problems=tuple(problems.values()),
            charted=tuple(charted[t] for t in sorted(charted, key=lambda t: t or 0)),
        )

    def _tell_context(self, survivor: str, now_ns: int, changes: Changes) -> None:
        stays = [c for c in self._claims.get(survivor, ()) if c.pseudonym != NOBODY_KNOWN]
        known = self._known(survivor)
        if not stays or known == KnownPatient(pseudonym=survivor):
            return  # said once they come into a bed
        first_ns = min(stay.start_ns for stay in stays)
        told = self._contexts[survivor]
        times = (c.observed_time_ns or 0 for c in known.charted)
        moments = {first_ns, *told, *(max(first_ns, t) for t in times)}
        for moment in sorted(moments):
            context = _context_at(known, moment)
            if told.get(moment) == context:
                continue
            told[moment] = context
            beds = {s.bed_id for s in stays if s.end_ns is None or s.end_ns > moment}
            for bed_id in sorted(beds or {stays[-1].bed_id}):
                recorded_ns = self._next_recorded(now_ns)
                event = _event(RecordEventKind.CONTEXT, bed_id, survivor, moment, recorded_ns)
                changes.events.append(replace(event, context=context))

    # ---- observations ---------------------------------------------------------------------

    def _resolve(self, intake: Intake, statement: Statement, now_ns: int, changes: Changes) -> None:
        """Whose observation that is; kept with its reason where that is not certain."""
        stay = self.occupant(intake.bed_id, statement.time_ns) if intake.bed_id else None
        reason = self._doubt(intake, statement, stay, now_ns)
        if reason is not None:
            changes.refusals.append(_refused(statement.part, *reason, statement))
            return
        named = intake.pseudonym or (stay.pseudonym if stay else "")
        pseudonym = self.survivor(named)
        known = self.facts(pseudonym)
        facts = PatientFacts(
            birth_date=intake.facts.birth_date or known.birth_date,
            sex=intake.facts.sex or known.sex,
        )
        observation = Observation(
            pseudonym=pseudonym,
            encounter_id=intake.encounter_id or (stay.encounter_id if stay else None),
            time_ns=statement.time_ns,
            code_system=statement.code_system,
            code=statement.code,
            code_text=statement.code_text,
            value=statement.value,
            unit=statement.unit,
            source=intake.source,
            message_id=statement.identity,
        )
        changes.observations.append((observation, facts))

    def _doubt(
        self, intake: Intake, statement: Statement, stay: Stay | None, now_ns: int
    ) -> tuple[str, str] | None:
        if statement.time_ns <= 0:
            return "time", "its time is before 1970"
        if statement.time_ns > now_ns + FUTURE_NS:
            return "time_in_future", "it was observed in the future"
        if intake.pseudonym is None:
            if stay is None:
                return "nobody_in_bed", f"nobody is known to have been in bed {intake.bed_id} then"
            return None
        named = self.survivor(intake.pseudonym)
        if stay is not None and stay.pseudonym != named:
            text = f"the patient it names was not the one in bed {intake.bed_id} then"
            return "patient_contradiction", text
        owners = self._of_encounter.get(intake.encounter_id or "", set())
        if {self.survivor(owner) for owner in owners} - {named}:
            return "patient_contradiction", "the stay it names is another patient's"
        if not intake.updates_facts and _contradict(intake.facts, self._known(named)):
            text = "the day of birth or sex it states is not that of the patient it names"
            return "patient_contradiction", text
        return None


def _contradict(stated: PatientFacts, known: KnownPatient) -> bool:
    if stated.sex and known.sex and stated.sex != known.sex:
        return True
    if stated.birth_date is None or known.birth_date is None:
        return False
    days = (stated.birth_date, known.birth_date)
    if not known.is_day_known or any((day.month, day.day) == (7, 1) for day in days):
        # After a restart, or stated as the middle of a year: only the year is known.
        return stated.birth_date.year != known.birth_date.year
    return stated.birth_date != known.birth_date


def _context_at(known: KnownPatient, moment_ns: int) -> PatientContext:
    past = [c for c in known.charted if (c.observed_time_ns or 0) <= moment_ns]
    charted = past[-1] if past else PatientContext(birth_year=None, sex="unknown")
    return replace(
        charted,
        birth_year=known.birth_date.year if known.birth_date else None,
        sex=known.sex or "unknown",
        problems=known.problems,
        hypercapnic_target=charted.hypercapnic_target,
    )


def _event(
    kind: RecordEventKind, bed_id: str, pseudonym: str, effective_ns: int, recorded_ns: int
) -> RecordEvent:
    return RecordEvent(
        event_id=identity(kind, bed_id, pseudonym, effective_ns, recorded_ns),
        kind=kind,
        bed_id=bed_id,
        pseudonym=pseudonym,
        effective_time_ns=TimestampNs(effective_ns),
        recorded_time_ns=TimestampNs(recorded_ns),
    )


def _refused(part: str, reason_code: str, text: str, what: Movement | Statement) -> Refusal:
    return Refusal(part=part, reason_code=reason_code, text=text, kept=repr(what))
