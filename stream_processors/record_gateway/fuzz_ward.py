"""A ward that talks HL7 and FHIR, and knows the truth of every message it sends."""

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

MRN_SYSTEM: Final = "urn:hospital:mrn"
VISIT_SYSTEM: Final = "urn:hospital:visit"
AUTHORITIES: Final = {"HOSP": MRN_SYSTEM, "VISIT": VISIT_SYSTEM}
START: Final = datetime(2026, 11, 1, tzinfo=UTC)

# MDC code, name, LOINC, unit, usual values; units of which it cannot be.
MEASURED: Final = (
    ("147842", "MDC_ECG_HEART_RATE", "8867-4", "/min", (55, 130), ("%", "mm[Hg]", "furlong", "")),
    ("150456", "MDC_PULS_OXIM_SAT_O2", "59408-5", "%", (88, 100), ("/min", "kPa", "")),
    ("150344", "MDC_TEMP", "8310-5", "Cel", (36, 39), ("[degF]", "K", "mmol/L", "")),
    ("150021", "MDC_PRESS_BLD_NONINV_SYS", "8480-6", "mm[Hg]", (90, 170), ("kPa", "Cel", "")),
    ("151562", "MDC_RESP_RATE", "9279-1", "/min", (10, 30), ("mm[Hg]", "parsec", "")),
)
# LOINC, unit, usual values, units that are mistaken for it.
LABORATORY: Final = (
    ("2345-7", "mg/dL", (80, 180), ("mmol/L", "g/dL", "")),
    ("2160-0", "mg/dL", (0.6, 1.8), ("umol/L", "kPa", "")),
    ("2823-3", "mmol/L", (3.4, 5.4), ("mg/dL", "%", "")),
)
_NAMES: Final = ("王^小明", "Schröder^Änne", "Doe^Jane", "欧阳^娜娜", "O'Neil^Séan")


@dataclass(slots=True)
class Message:
    """One message and what is true of it.

    Attributes
    ----------
    kind : str
        ``adt``, ``oru``, ``alarm``, ``observation`` or ``bundle``.
    payload : bytes
        As sent.
    patients : frozenset of int
        Numbers of those it is about.
    n_statements : int
        Observations it states, where that is certain.
    """

    kind: str
    payload: bytes
    patients: frozenset[int]
    n_statements: int = 0


@dataclass(slots=True)
class Measurement:
    """A value in the unit that a message states; `right_unit` is that of the value."""

    mdc: str
    name: str
    loinc: str
    value: float
    unit: str


@dataclass(slots=True)
class FuzzWard:
    """Patients come, move, are swapped and go; each is measured.

    Attributes
    ----------
    draw : random.Random
        Seeded: the same ward each time.
    n_beds, n_patients : int
        Its size.
    """

    draw: random.Random
    n_beds: int = 16
    n_patients: int = 400
    now: datetime = START
    in_bed: dict[int, int] = field(default_factory=dict[int, int])  # bed -> patient
    n_sent: int = 0

    def next_message(self) -> Message:
        """The next valid message."""
        self.now += timedelta(seconds=self.draw.choice((1, 2, 5)))
        if len(self.in_bed) < self.n_beds // 2:
            return self._admit()
        choice = self.draw.random()
        if choice < 0.15:
            return self.draw.choice((self._admit, self._discharge, self._transfer, self._update))()
        if choice < 0.60:
            return self.results(self.someone())
        if choice < 0.65:
            return self._alarm(self.someone())
        if choice < 0.97:
            return self.observation(self.someone())
        return self._bundle(self.someone())

    def someone(self) -> int:
        """A patient who is in a bed."""
        return self.draw.choice(list(self.in_bed.values()))

    def bed_of(self, patient: int) -> str:
        """PV1-3 of a patient; empty if they are in no bed."""
        return next((f"ICU^1^B{b:02}" for b, p in self.in_bed.items() if p == patient), "")

    # ---- people ---------------------------------------------------------------------------

    def born(self, patient: int) -> str:
        """Day of birth, YYYYMMDD; no two patients of a ward share it."""
        day = datetime(1930, 1, 1, tzinfo=UTC) + timedelta(days=53 * patient)
        return day.strftime("%Y%m%d")

    def sex(self, patient: int) -> str:
        """M or F."""
        return "MF"[patient % 2]

    def _pid(self, number: int, described: int | None = None) -> str:
        who = number if described is None else described
        name = _NAMES[who % len(_NAMES)]
        return (
            f"PID|1||MRN{number:05}^^^HOSP^MR~{who:09}^^^GOV^SS||{name}||{self.born(who)}"
            f"|{self.sex(who)}"
        )

    def _pv1(self, place: str, visit: int) -> str:
        return f"PV1|1|I|{place}||||||||||||||||{f'V{visit:05}^^^VISIT'}"

    # ---- messages -------------------------------------------------------------------------

    def _message(self, kind: str, *segments: str) -> bytes:
        self.n_sent += 1
        stamp = self.now.strftime("%Y%m%d%H%M%S+0000")
        head = f"MSH|^~\\&|HIS|HOSP|WS|ICU|{stamp}||{kind}|{self.n_sent}|P|2.6||||||UNICODE UTF-8"
        return ("\r".join((head, *segments)) + "\r").encode()

    def _adt(self, event: str, patient: int, place: str) -> Message:
        stamp = self.now.strftime("%Y%m%d%H%M%S+0000")
        payload = self._message(
            f"ADT^{event}^ADT_A01", f"EVN|{event}|{stamp}||||{stamp}", self._pid(patient),
            self._pv1(place, patient),
        )  # fmt: skip
        return Message("adt", payload, frozenset({patient}))

    def _admit(self) -> Message:
        inside = set(self.in_bed.values())
        free = [b for b in range(self.n_beds) if b not in self.in_bed]
        if not free:
            return self._discharge()
        patient = self.draw.choice([p for p in range(self.n_patients) if p not in inside])
        self.in_bed[self.draw.choice(free)] = patient
        return self._adt("A01", patient, self.bed_of(patient))

    def _discharge(self) -> Message:
        bed = self.draw.choice(list(self.in_bed))
        patient, place = self.in_bed[bed], f"ICU^1^B{bed:02}"
        del self.in_bed[bed]
        return self._adt("A03", patient, place)

    def _transfer(self) -> Message:
        free = [b for b in range(self.n_beds) if b not in self.in_bed]
        if not free:
            return self._discharge()
        old, new = self.draw.choice(list(self.in_bed)), self.draw.choice(free)
        patient = self.in_bed.pop(old)
        self.in_bed[new] = patient
        return self._adt("A02", patient, self.bed_of(patient))

    def _update(self) -> Message:
        patient = self.someone()
        return self._adt("A08", patient, self.bed_of(patient))

    def measure(self) -> Measurement:
        """A value as it may be."""
        mdc, name, loinc, unit, (low, high), _ = self.draw.choice(MEASURED)
        return Measurement(mdc, name, loinc, round(self.draw.uniform(low, high), 1), unit)

    def results(
        self,
        patient: int,
        measurements: list[Measurement] | None = None,
        *,
        place: str | None = None,
        described: int | None = None,
    ) -> Message:
        """An ORU^R01 in the shape of PCD-01; `described` is whose day of birth and sex it has."""
        measured = measurements or [self.measure() for _ in range(self.draw.randint(1, 4))]
        stamp = self.now.strftime("%Y%m%d%H%M%S+0000")
        observed = [
            f"OBX|{n}|NM|{m.mdc}^{m.name}^MDC|1.1.1.{n}|{m.value}|{m.unit}^^UCUM|||||F|||{stamp}"
            for n, m in enumerate(measured, start=1)
        ]
        payload = self._message(
            "ORU^R01^ORU_R01",
            self._pid(patient, described),
            self._pv1(self.bed_of(patient) if place is None else place, patient),
            f"OBR|1|||182777000^monitoring of patient^SCT|||{stamp}",
            *observed,
        )
        return Message("oru", payload, frozenset({patient}), len(measured))

    def _alarm(self, patient: int) -> Message:
        stamp = self.now.strftime("%Y%m%d%H%M%S+0000")
        payload = self._message(
            "ORU^R40^ORU_R40",
            self._pid(patient),
            self._pv1(self.bed_of(patient), patient),
            f"OBR|1|||196616^MDC_EVT_ALARM^MDC|||{stamp}",
            "OBX|1|CWE|196616^MDC_EVT_ALARM^MDC|1.1.1.1.1|196652^MDC_EVT_LO^MDC||||||F",
            "OBX|2|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.1.1.1.2|82|262688^MDC_DIM_PERCENT^MDC|||||F",
            "OBX|3|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1.1.1.1.3|start||||||F",
        )
        return Message("alarm", payload, frozenset({patient}), 1)

    def laboratory(self) -> Measurement:
        """A laboratory value as it may be."""
        loinc, unit, (low, high), _ = self.draw.choice(LABORATORY)
        return Measurement("", "", loinc, round(self.draw.uniform(low, high), 2), unit)

    def observation(
        self, patient: int, measured: Measurement | None = None, *, visit: int | None = None
    ) -> Message:
        """A FHIR Observation; `visit` is whose stay it names."""
        self.n_sent += 1
        resource = self._observation(patient, measured or self.laboratory(), visit)
        payload = json.dumps(resource, ensure_ascii=False).encode()
        return Message("observation", payload, frozenset({patient}), 1)

    def _observation(self, patient: int, measured: Measurement, visit: int | None) -> Any:
        quantity: dict[str, Any] = {"value": measured.value}
        if measured.unit:
            quantity |= {
                "unit": measured.unit,
                "code": measured.unit,
                "system": "http://unitsofmeasure.org",
            }
        stay = patient if visit is None else visit
        return {
            "resourceType": "Observation",
            "id": f"o{self.n_sent}",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": measured.loinc}]},
            "subject": {"identifier": {"system": MRN_SYSTEM, "value": f"MRN{patient:05}"}},
            "encounter": {"identifier": {"system": VISIT_SYSTEM, "value": f"V{stay:05}"}},
            "effectiveDateTime": self.now.isoformat(),
            "valueQuantity": quantity,
        }

    def _bundle(self, patient: int) -> Message:
        born = self.born(patient)
        self.n_sent += 1
        person = {
            "resourceType": "Patient",
            "id": f"pat{patient}",
            "identifier": [{"system": MRN_SYSTEM, "value": f"MRN{patient:05}"}],
            "name": [{"text": _NAMES[patient % len(_NAMES)]}],
            "gender": {"M": "male", "F": "female"}[self.sex(patient)],
            "birthDate": f"{born[:4]}-{born[4:6]}-{born[6:]}",
        }
        resources = [person] + [
            self._observation(patient, self.laboratory(), None) | {"id": f"o{self.n_sent}-{n}"}
            for n in range(2)
        ]
        bundle = {
            "resourceType": "Bundle",
            "type": "batch",
            "entry": [{"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}} for r in resources],
        }  # fmt: skip
        payload = json.dumps(bundle, ensure_ascii=False).encode()
        return Message("bundle", payload, frozenset({patient}), 2)
