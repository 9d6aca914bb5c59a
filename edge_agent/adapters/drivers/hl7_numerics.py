"""Numerics of an HL7 v2 ``ORU^R01`` in the shape of IHE PCD-01.

``OBX|n|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.1.1|97|262688^MDC_DIM_PERCENT^MDC|...|F|||time``

Code and unit are taken from what the segment states; value type, result status and validity
decide whether it is a value. Nothing of PID is read. Reasons quote neither values nor names.
"""

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from edge_agent.adapters.drivers.nomenclature import find_code
from edge_agent.adapters.drivers.stated import numeric, parse_number
from edge_agent.adapters.optional import import_driver
from edge_agent.core.arrivals import NumericArrival
from wardstream.contracts.codes import code_by_loinc
from wardstream.contracts.errors import ContractError, OutOfRangeError, UnknownSchemaError
from wardstream.contracts.timebase import from_datetime

CHARSETS: Final = {
    "": "utf-8",  # nothing is stated: ASCII, of which UTF-8 is a superset that shows errors
    "ASCII": "ascii",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "8859/1": "iso-8859-1",
    "8859/15": "iso-8859-15",
    "GB 18030-2000": "gb18030",
    "GB18030": "gb18030",
}
"""MSH-18 (HL7 table 0211) -> codec."""

SEPARATORS: Final = b"MSH|^~\\&"
"""What every message begins with; the parser is not to be trusted with others (it asserts)."""

FINAL_STATUSES: Final = frozenset({"F", "R", "P", "C", "S"})
"""OBX-11 of values that stand: final, entered, preliminary, corrected, partial."""

_TEXTS: Final = frozenset({"ST", "CWE", "CE", "TX"})
_UNAVAILABLE: Final = frozenset({"X"})
_INVALID_FLAGS: Final = frozenset({"INV"})  # OBX-8 of PCD-01: the measurement is invalid
_TIME: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(?:(\d\d)(?:\.(\d{1,4}))?)?([+-]\d{4})?")


class RefusedMessageError(ContractError):
    """The whole message cannot be taken.

    Attributes
    ----------
    control_id : str
        MSH-10, as far as it could be read.
    code : str
        What MSA-1 answers: AE or AR.
    """

    def __init__(self, message: str, control_id: str = "", code: str = "AE") -> None:
        super().__init__(message)
        self.control_id = control_id
        self.code = code


@dataclass(frozen=True, slots=True)
class Header:
    """What an acknowledgement needs of MSH."""

    control_id: str
    trigger: str
    version: str
    processing_id: str
    wants_answer: bool
    zone: str = ""
    """Offset of MSH-7, which is that of every time that states none (HL7 v2, 2.A.77)."""


@dataclass(slots=True)
class OruMessage:
    """What a message gave.

    Attributes
    ----------
    header : Header
        Of the message.
    location : tuple of str
        Components of PV1-3 (point of care, room, bed); () if not stated.
    arrivals : list of NumericArrival
        Values that can be taken.
    refusals : list of (channel, reason)
        Segments that cannot.
    """

    header: Header
    location: tuple[str, ...] = ()
    arrivals: list[NumericArrival] = field(default_factory=list[NumericArrival])
    refusals: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def read_oru(payload: bytes, arrived_ns: int, processing_id: str) -> OruMessage:
    """The numerics of one message.

    Raises
    ------
    RefusedMessageError
        It is no ORU^R01, is not readable, or not of `processing_id`.
    """
    message = _parse(payload)
    header = read_header(message)
    if _text(message[0], 9, 0) != "ORU" or header.trigger != "R01":
        raise RefusedMessageError("it is no ORU^R01", header.control_id, "AR")
    if header.processing_id != processing_id:
        raise RefusedMessageError(
            f"its processing id (MSH-11) is not {processing_id}", header.control_id, "AR"
        )
    found = OruMessage(header)
    observed_ns: int | None = None
    for segment in message[1:]:
        name = str(segment[0])
        if name == "PV1":
            found.location = tuple(_text(segment, 3, i) for i in range(3))
        elif name == "OBR":
            observed_ns = _try_time(_text(segment, 7), found, "OBR-7")
        elif name == "OBX":
            _take(segment, observed_ns, arrived_ns, found)
    return found


def read_header(message: Any) -> Header:
    """What an acknowledgement needs of the message's MSH."""
    msh = message[0]
    control_id = _text(msh, 10)
    if not control_id or len(control_id) > 199:
        raise RefusedMessageError("it has no control id (MSH-10)", code="AR")
    return Header(
        control_id=control_id,
        trigger=_text(msh, 9, 1),
        version=_text(msh, 12) or "2.6",
        processing_id=_text(msh, 11),
        # Original mode (both empty) always answers; in enhanced mode NE means never.
        wants_answer=not (_text(msh, 16) == "NE" and _text(msh, 15) in ("", "NE")),
        zone=_zone(_text(msh, 7)),
    )


def acknowledge(header: Header, code: str, control_id: str, now_ns: int) -> bytes:
    """An ACK with MSA-1 `code` for the message `header` is of."""
    stamp = datetime.fromtimestamp(now_ns / 1e9, UTC).strftime("%Y%m%d%H%M%S+0000")
    answered = re.sub(r"[\r\n|]", " ", header.control_id)
    msh = (
        f"MSH|^~\\&|WARDSTREAM||||{stamp}||ACK^{header.trigger}^ACK|{control_id}|"
        f"{header.processing_id or 'P'}|{header.version}||||||UNICODE UTF-8"
    )
    return f"{msh}\rMSA|{code}|{answered}\r".encode()


def parse_time(text: str, zone_of_message: str = "") -> int:
    """Nanoseconds of an HL7 time, in the zone of its message where it states none.

    Without either it is the device's own clock in an unknown zone, which the numeric clock
    takes up as an offset.

    Raises
    ------
    OutOfRangeError
        It is no time to the minute.
    """
    match = _TIME.fullmatch(text)
    if match is None or not text.isascii():
        raise OutOfRangeError("a time is not YYYYMMDDHHMM[SS[.S]][+ZZZZ]")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    offset = offset or zone_of_message
    zone: timezone = UTC
    try:
        if offset:
            sign = -1 if offset[0] == "-" else 1
            zone = timezone(sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[3:])))
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0),
            int((fraction or "0").ljust(6, "0")), zone,
        )  # fmt: skip
        return from_datetime(moment)
    except (ValueError, OverflowError) as error:
        raise OutOfRangeError("a time is on no calendar") from error


def _zone(text: str) -> str:
    match = _TIME.fullmatch(text)
    return (match.group(8) or "") if match else ""


def _parse(payload: bytes) -> Any:
    if not payload.startswith(b"MSH") or len(payload) < 8:
        raise RefusedMessageError("it does not begin with MSH", code="AR")
    if not payload.startswith(SEPARATORS):
        raise RefusedMessageError("its separators are not | ^ ~ \\ & (MSH-1, MSH-2)", code="AR")
    text = _decode(payload)
    hl7: Any = import_driver("hl7")
    try:
        return hl7.parse(text)
    except (hl7.exceptions.HL7Exception, ValueError, IndexError, KeyError) as error:
        raise RefusedMessageError(f"it is no HL7 v2 message ({type(error).__name__})") from error


def _decode(payload: bytes) -> str:
    header = payload.partition(b"\r")[0].split(payload[3:4])
    stated = header[17].decode("ascii", "replace").strip() if len(header) > 17 else ""
    stated = stated.split("~")[0]
    control_id = header[9].decode("ascii", "replace") if len(header) > 9 else ""
    if stated not in CHARSETS:
        raise RefusedMessageError("its character set (MSH-18) is not known", control_id)
    try:
        return payload.decode(CHARSETS[stated])
    except UnicodeDecodeError as error:
        what = f"the {stated} that MSH-18 states" if stated else "UTF-8, and MSH-18 states nothing"
        raise RefusedMessageError(f"its bytes are not {what}", control_id) from error


def _take(segment: Any, observed_ns: int | None, arrived_ns: int, found: OruMessage) -> None:
    value_type, text = _text(segment, 2), _text(segment, 5)
    status = _text(segment, 11)
    if value_type in _TEXTS or not (value_type or text):
        return  # the device's own tree (MDS, VMD, channel), events and texts
    channel = _channel(segment)
    try:
        if value_type != "NM":
            raise OutOfRangeError("its value type (OBX-2) is not NM")
        if status not in FINAL_STATUSES | _UNAVAILABLE:
            raise OutOfRangeError("its status (OBX-11) says that it does not stand")
        value = _value(segment, text, status)
        stamp = _text(segment, 14)
        device_ns = parse_time(stamp, found.header.zone) if stamp else observed_ns
        code, unit = _code(segment), _unit(segment)
        found.arrivals.append(numeric(code, unit, value, arrived_ns, device_ns))
    except ContractError as error:
        found.refusals.append((channel, str(error)))


def _value(segment: Any, text: str, status: str) -> float:
    flags = set(_text(segment, 8).split("~")) | {_text(segment, 8, 0)}
    if status in _UNAVAILABLE or text == "" or flags & _INVALID_FLAGS:
        return math.nan
    return parse_number(text)


def _code(segment: Any) -> str:
    number, name, system = (_text(segment, 3, i) for i in range(3))
    if system == "LN":
        return code_by_loinc(number).mdc
    if system not in ("MDC", ""):
        raise UnknownSchemaError("its code system (OBX-3.3) is neither MDC nor LN")
    if (
        number
        and name.startswith("MDC")
        and number.isdigit()
        and find_code(number) != find_code(name)
    ):
        raise OutOfRangeError("number and name of its code (OBX-3) contradict each other")
    return name if name.startswith("MDC") else number


def _unit(segment: Any) -> str:
    number, name, system = (_text(segment, 6, i) for i in range(3))
    if system == "UCUM":
        return number
    return name if name.startswith("MDC") else number


def _channel(segment: Any) -> str:
    name = _text(segment, 3, 1) or _text(segment, 3, 0)
    return f"OBX {name}" if re.fullmatch(r"[A-Z0-9_-]{1,48}", name) else "OBX"


def _try_time(text: str, found: OruMessage, where: str) -> int | None:
    if not text:
        return None
    try:
        return parse_time(text, found.header.zone)
    except OutOfRangeError as error:
        found.refusals.append((where, str(error)))
        return None


def _text(segment: Any, position: int, component: int | None = None) -> str:
    """Field `position` of a segment; with `component`, that one of its first repetition."""
    try:
        part = segment[position]
        if component is None:
            return str(part).strip()
        first = part[0]
        text = first if isinstance(first, str) else first[component]
        return str(text).strip() if not isinstance(first, str) or component == 0 else ""
    except (IndexError, KeyError):
        return ""
