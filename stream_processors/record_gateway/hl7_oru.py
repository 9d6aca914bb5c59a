"""HL7 v2 ORU: results (R01, IHE PCD-01 among them) and alarms of monitors (R40, IHE PCD-04)."""

from typing import Any, Final

from stream_processors.core.intake import Intake, Refusal, Statement, identity
from stream_processors.record_gateway.conventions import Conventions, strict_number
from stream_processors.record_gateway.hl7_adt import (
    bed_of,
    facts_in,
    pseudonym_in,
    segment_named,
    source_of,
    visit_of,
)
from stream_processors.record_gateway.hl7_text import (
    REQUIRED_FIELD,
    SEGMENT_SEQUENCE,
    UNSUPPORTED_EVENT,
    Header,
    Hl7Error,
    field_text,
    parse_time,
)
from wardstream.contracts.errors import ContractError, OutOfRangeError
from wardstream.contracts.timebase import TimestampNs

_STANDING: Final = frozenset({"F", "C", "P", "R", "S"})
"""OBX-11 of what stands: final, corrected, preliminary, entered, partial."""
_NOTHING: Final = frozenset({"X", "N", "O", "I"})
"""OBX-11 of what states no result: cannot be had, not asked, no order, pending."""
_TEXTS: Final = frozenset({"ST", "TX", "FT", "CE", "CWE", "CF", "IS", "ID"})
_ALARM: Final = "MDC_EVT_ALARM"
_ALARM_CODE: Final = "196616"
_ALARM_ATTRIBUTES: Final = {
    "MDC_ATTR_EVENT_PHASE": "phase",
    "MDC_ATTR_ALARM_STATE": "state",
    "MDC_ATTR_ALARM_INACTIVATION_STATE": "inactivation",
    "MDC_ATTR_ALARM_PRIORITY": "priority",
    "MDC_ATTR_ALERT_TYPE": "type",
}


def read_oru(message: Any, header: Header, conventions: Conventions) -> list[Intake]:
    """What an ORU says; statements without patient are resolved by the bed they name.

    Raises
    ------
    Hl7Error
        It is neither R01 nor R40, names neither patient nor bed, or more than one patient.
    """
    if header.trigger not in ("R01", "R40"):
        raise Hl7Error("event", "its event (MSH-9.2) is neither R01 nor R40", UNSUPPORTED_EVENT)
    names = [str(segment[0]) for segment in message]
    if names.count("PID") > 1 or names.count("PV1") > 1:
        text = "it is about more than one patient; send one message for each"
        raise Hl7Error("several_patients", text, SEGMENT_SEQUENCE)
    pid, pv1 = segment_named(message, "PID"), segment_named(message, "PV1")
    pseudonym, bed_id = pseudonym_in(pid, 3, conventions), bed_of(pv1, 3, conventions)
    if pseudonym is None and bed_id is None:
        text = "it names neither patient (PID-3) nor bed (PV1-3)"
        raise Hl7Error("no_patient", text, REQUIRED_FIELD)
    if pseudonym is None and not conventions.trust_beds:
        text = "it names only a bed (STREAM_GATEWAY__TRUST_BEDS is not set)"
        raise Hl7Error("no_patient", text, REQUIRED_FIELD)
    facts, _ = facts_in(pid)
    reader = _Results(header, conventions)
    reader.read(message)
    return [
        Intake(
            source=source_of(header),
            pseudonym=pseudonym,
            facts=facts,
            encounter_id=visit_of(pv1, pid, conventions),
            bed_id=bed_id,
            statements=tuple(reader.statements),
            refusals=tuple(reader.refusals),
        )
    ]


class _Results:
    def __init__(self, header: Header, conventions: Conventions) -> None:
        self.statements: list[Statement] = []
        self.refusals: list[Refusal] = []
        self._header = header
        self._conventions = conventions
        self._observed = ""
        self._alarm: dict[str, str] = {}
        self._alarm_time = ""
        self._n_obx = 0
        self._n_obr = 0

    def read(self, message: Any) -> None:
        for segment in message[1:]:
            name = str(segment[0])
            if name == "OBR":
                self._end_alarm()
                self._n_obr += 1
                self._observed = field_text(segment, 7, 0)
            elif name == "OBX":
                self._n_obx += 1
                try:
                    self._take(segment)
                except ContractError as error:
                    self._refuse(f"OBX[{self._n_obx}]", _reason(error), str(error), str(segment))
        self._end_alarm()

    def _take(self, segment: Any) -> None:
        if self._header.trigger == "R40":
            self._take_alarm(segment)
            return
        value_type, status = field_text(segment, 2, 0), field_text(segment, 11, 0)
        text = field_text(segment, 5)
        if status in _NOTHING or (not text and not value_type):
            return  # a node of the device's tree, or a result that is not there
        if status not in _STANDING:
            raise _RefusedError(
                "result_status", f"its status (OBX-11) is {status[:1] or 'missing'}"
            )
        code, words, system = (field_text(segment, 3, i) for i in range(3))
        if not code:
            raise _RefusedError("no_code", "it has no code (OBX-3)")
        self.statements.append(
            Statement(
                part=f"OBX[{self._n_obx}]",
                identity=self._identity(str(segment)),
                time_ns=self._time(field_text(segment, 14, 0)),
                code_system=system,
                code=code,
                code_text=words,
                value=_value(segment, value_type, text),
                unit=_unit(segment),
            )
        )

    def _identity(self, text: str) -> str:
        return identity("obx", self._header.sender, self._header.control_id, self._n_obx, text)

    def _time(self, own: str) -> TimestampNs:
        text = own or self._observed
        if not text:
            raise _RefusedError("no_time", "it has no time (OBX-14, OBR-7)")
        try:
            return parse_time(text, self._header.zone, self._conventions.time_zone)
        except OutOfRangeError as error:
            raise _RefusedError("time", str(error)) from error

    # An alarm of PCD-04 is one OBR with several OBX, each a facet of it.

    def _take_alarm(self, segment: Any) -> None:
        number, name = field_text(segment, 3, 0), field_text(segment, 3, 1)
        if name == _ALARM or number == _ALARM_CODE:
            event = field_text(segment, 5, 1) or field_text(segment, 5, 0)
            self._alarm.setdefault("event", event)
            self._alarm_time = self._alarm_time or field_text(segment, 14, 0)
        elif name in _ALARM_ATTRIBUTES:
            self._alarm.setdefault(_ALARM_ATTRIBUTES[name], field_text(segment, 5, 0))
        elif name.startswith("MDC_") and field_text(segment, 2, 0) == "NM":
            self._alarm.setdefault("source", f"{name}={field_text(segment, 5)}")

    def _end_alarm(self) -> None:
        alarm, stamp = self._alarm, self._alarm_time
        self._alarm, self._alarm_time = {}, ""
        if self._header.trigger != "R40" or not self._n_obr:
            return
        part = f"OBR[{self._n_obr}]"
        kept = ";".join(f"{name}={value}" for name, value in alarm.items())
        if not alarm.get("event"):
            text = "an alarm names no event (OBX MDC_EVT_ALARM)"
            self._refuse(part, "alarm_without_event", text, kept)
            return
        attributes = (f"{k}={v}" for k, v in sorted(alarm.items()) if k != "event" and v)
        try:
            statement = Statement(
                part=part,
                identity=self._identity(f"{self._n_obr} {kept}"),
                time_ns=self._time(stamp),
                code_system="MDC",
                code=_ALARM_CODE,
                code_text=_ALARM,
                value=";".join((alarm["event"], *attributes)),
                unit=None,
            )
        except _RefusedError as error:
            self._refuse(part, error.reason_code, str(error), kept)
            return
        self.statements.append(statement)

    def _refuse(self, part: str, reason_code: str, text: str, kept: str) -> None:
        self.refusals.append(Refusal(part=part, reason_code=reason_code, text=text, kept=kept))


class _RefusedError(ContractError):
    def __init__(self, reason_code: str, text: str) -> None:
        super().__init__(text)
        self.reason_code = reason_code


def _reason(error: ContractError) -> str:
    return error.reason_code if isinstance(error, _RefusedError) else "value"


def _value(segment: Any, value_type: str, text: str) -> float | str:
    if value_type == "NM":
        return strict_number(text)
    if value_type == "SN":
        comparator, first, separator = (field_text(segment, 5, i) for i in range(3))
        if comparator in ("", "=") and not separator:
            return strict_number(first)
        return text  # a range or a bound is no number
    if value_type in ("CE", "CWE", "CF"):
        return field_text(segment, 5, 0) or field_text(segment, 5, 1)
    if value_type in _TEXTS:
        return text
    raise _RefusedError(
        "value_type", "its value type (OBX-2) is not one of NM, SN, a text or a code"
    )


def _unit(segment: Any) -> str | None:
    # A CWE twice over: (code, text, system), (alternate code, alternate text, alternate system).
    for first in (0, 3):
        if field_text(segment, 6, first + 2) == "UCUM":
            return field_text(segment, 6, first) or None
    for first in (0, 3):
        words = field_text(segment, 6, first + 1)
        if words.startswith("MDC_DIM"):
            return words
    return field_text(segment, 6, 0) or field_text(segment, 6, 1) or None
