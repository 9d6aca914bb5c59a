"""HL7 v2 messages as bytes: character set, parsing, times, and the acknowledgement.

`hl7` parses; what it does not look at is checked here. No reason quotes what a message holds.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

import hl7
from hl7.exceptions import HL7Exception

from wardstream.contracts.errors import ContractError, OutOfRangeError
from wardstream.contracts.timebase import TimestampNs, from_datetime

_CHARSETS: Final = {
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

_SEPARATORS: Final = b"MSH|^~\\&"
_TIME: Final = re.compile(
    r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(?:(\d\d)(?:\.(\d{1,4}))?)?([+-]\d{4})?", re.ASCII
)
_MAX_CONTROL_ID: Final = 199  # HL7 2.7 MSH-10
_VERSIONS: Final = re.compile(r"2(\.[1-9](\.\d)?)?", re.ASCII)

# HL7 table 0357: (code, words).
ACCEPTED: Final = ("0", "Message accepted")
SEGMENT_SEQUENCE: Final = ("100", "Segment sequence error")
REQUIRED_FIELD: Final = ("101", "Required field missing")
DATA_TYPE: Final = ("102", "Data type error")
UNSUPPORTED_TYPE: Final = ("200", "Unsupported message type")
UNSUPPORTED_EVENT: Final = ("201", "Unsupported event code")
UNSUPPORTED_PROCESSING: Final = ("202", "Unsupported processing id")
UNSUPPORTED_VERSION: Final = ("203", "Unsupported version id")
UNKNOWN_KEY: Final = ("204", "Unknown key identifier")
INTERNAL: Final = ("207", "Application internal error")
CONDITIONS: Final[dict[str, str]] = dict((
    ACCEPTED, SEGMENT_SEQUENCE, REQUIRED_FIELD, DATA_TYPE, UNSUPPORTED_TYPE, UNSUPPORTED_EVENT,
    UNSUPPORTED_PROCESSING, UNSUPPORTED_VERSION, UNKNOWN_KEY, INTERNAL,
))  # fmt: skip
"""Code -> words."""
_REJECTS: Final = (UNSUPPORTED_TYPE, UNSUPPORTED_EVENT, UNSUPPORTED_PROCESSING, UNSUPPORTED_VERSION)


class Hl7Error(ContractError):
    """A whole message cannot be taken.

    Attributes
    ----------
    reason_code : str
        Short name of the reason, for counters and the quarantine.
    condition : tuple of (str, str)
        HL7 table 0357 code and words, for ERR-3.
    """

    def __init__(self, reason_code: str, text: str, condition: tuple[str, str]) -> None:
        super().__init__(text)
        self.reason_code = reason_code
        self.condition = condition

    @property
    def answer(self) -> str:
        """MSA-1: AR where the header already rules it out, else AE (HL7 v2, 2.9.2)."""
        return "AR" if self.condition in _REJECTS else "AE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """MSH, as far as the message could be read."""

    control_id: str = ""
    sender: str = ""
    """Sending application and facility, as ``MSH-3|MSH-4``."""
    message_type: str = ""
    trigger: str = ""
    processing_id: str = "P"
    version: str = "2.5"
    charset: str = ""
    time: str = ""
    accept_mode: str = ""
    """MSH-15: when a commit acknowledgement is wanted."""
    application_mode: str = ""
    """MSH-16: when an application acknowledgement is wanted."""

    @property
    def zone(self) -> str:
        """Offset of MSH-7, which is that of every time that states none (HL7 v2, 2.A.77)."""
        match = _TIME.fullmatch(self.time)
        return (match.group(8) or "") if match else ""


def read_header(payload: bytes) -> Header:
    """What can be read of the header without trusting the rest; never raises.

    An answer has to name the message even if nothing else of it can be read.
    """
    first = payload.partition(b"\r")[0][:2000]
    if not first.startswith(_SEPARATORS):
        return Header()
    # In GB 18030 the second byte of a character may be a separator: decoded before it is cut.
    codec = "gb18030" if b"|GB" in first else "utf-8"
    fields = [field.strip() for field in first.decode(codec, "replace").split("|")]
    fields += [""] * (20 - len(fields))
    types = [*fields[8].split("^"), "", ""]
    return Header(
        control_id=fields[9],
        sender=f"{fields[2]}|{fields[3]}",
        message_type=types[0],
        trigger=types[1],
        processing_id=fields[10].split("^")[0],
        version=fields[11].split("^")[0],
        charset=fields[17].split("~")[0].strip(),
        time=fields[6],
        accept_mode=fields[14],
        application_mode=fields[15],
    )


def parse(payload: bytes, header: Header, processing_id: str, *, open_end: bool = False) -> Any:
    """The segments of a message that can be taken.

    Raises
    ------
    Hl7Error
        It is no HL7 v2 message of `processing_id` in the character set that it states.
    """
    if not payload.startswith(b"MSH"):
        raise Hl7Error("no_hl7", "it does not begin with MSH", SEGMENT_SEQUENCE)
    if not payload.startswith(_SEPARATORS + b"|"):
        text = "its separators (MSH-1, MSH-2) are not | ^ ~ \\ &"
        raise Hl7Error("separators", text, DATA_TYPE)
    if not header.control_id or len(header.control_id) > _MAX_CONTROL_ID:
        raise Hl7Error("no_control_id", "it has no control id (MSH-10)", REQUIRED_FIELD)
    if header.processing_id != processing_id:
        text = f"its processing id (MSH-11) is not {processing_id}"
        raise Hl7Error("processing_id", text, UNSUPPORTED_PROCESSING)
    if not _VERSIONS.fullmatch(header.version):
        raise Hl7Error("version", "its version (MSH-12) is not 2.x", UNSUPPORTED_VERSION)
    if not open_end and not payload.endswith((b"\r", b"\n")):
        # Cut within an identifier it would name another patient.
        raise Hl7Error("cut", "its last segment has no end (CR): it may be cut", SEGMENT_SEQUENCE)
    text = _decode(payload, header)
    try:
        return hl7.parse(text)  # pyright: ignore[reportUnknownMemberType]
    except (HL7Exception, ValueError, IndexError, KeyError, AssertionError) as error:
        why = f"it is no HL7 v2 message ({type(error).__name__})"
        raise Hl7Error("no_hl7", why, SEGMENT_SEQUENCE) from error


def _decode(payload: bytes, header: Header) -> str:
    if header.charset not in _CHARSETS:
        raise Hl7Error("charset", "its character set (MSH-18) is not known", DATA_TYPE)
    try:
        text = payload.decode(_CHARSETS[header.charset])
    except UnicodeDecodeError as error:
        stated = header.charset or "UTF-8, and MSH-18 states nothing"
        why = f"its bytes are not {stated} (at byte {error.start})"
        raise Hl7Error("encoding", why, DATA_TYPE) from error
    if _CHARSETS[header.charset] not in ("utf-8", "ascii") and _is_utf8_text(payload):
        why = f"its bytes are UTF-8, though MSH-18 states {header.charset}"
        raise Hl7Error("encoding", why, DATA_TYPE)
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffd]", text):
        raise Hl7Error("encoding", "it holds control or replacement characters", DATA_TYPE)
    # A segment ends with CR; files and careless senders write CR LF or LF.
    return text.replace("\r\n", "\r").replace("\n", "\r")


def _is_utf8_text(payload: bytes) -> bool:
    # Other encodings take UTF-8 for text of their own, and a separator with it now and then.
    try:
        return not payload.decode("utf-8").isascii()
    except UnicodeDecodeError:
        return False


def field_text(segment: Any, position: int, component: int | None = None) -> str:
    """Field `position`; with `component` (from 0), that one of its first repetition, unescaped."""
    return repetition_text(segment, position, 0, component)


def n_repetitions(segment: Any, position: int) -> int:
    """How often the field occurs, 0 if it is empty."""
    if len(segment) <= position or not str(segment[position]):
        return 0
    return len(segment[position])


def repetition_text(segment: Any, position: int, repetition: int, component: int | None) -> str:
    """As `field_text`, of repetition `repetition` (from 0); empty where there is none."""
    try:
        part = segment[position]
        if component is None:
            return _unescaped(str(part).strip())
        found = part[repetition]
        if isinstance(found, str):
            return _unescaped(found.strip()) if component == 0 else ""
        return _unescaped(str(found[component]).strip())
    except (IndexError, KeyError):
        return ""


_ESCAPES: Final = {"F": "|", "S": "^", "R": "~", "T": "&", "E": "\\", ".br": "\n"}


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return re.sub(
        r"\\(F|S|R|T|E|\.br)\\", lambda match: _ESCAPES[match.group(1)], text, flags=re.ASCII
    )


def parse_time(text: str, offset_of_message: str, site_zone: ZoneInfo | None) -> TimestampNs:
    """Nanoseconds UTC of an HL7 time to the minute or finer.

    Its own offset counts, else that of MSH-7, else the site's zone. A zone is never guessed.

    Raises
    ------
    OutOfRangeError
        It is no time, is in no known zone, or the clock was put back then and it could be two.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise OutOfRangeError("a time is not YYYYMMDDHHMM[SS[.S]][+ZZZZ]")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    offset = offset or offset_of_message
    if not offset and site_zone is None:
        raise OutOfRangeError("a time is in no known zone (STREAM_HL7_TIME_ZONE is not set)")
    try:
        naive = datetime(  # noqa: DTZ001 - the zone follows
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0),
            int((fraction or "0").ljust(6, "0")),
        )  # fmt: skip
        if offset:
            sign = -1 if offset[0] == "-" else 1
            delta = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
            return from_datetime(naive.replace(tzinfo=timezone(sign * delta)))
        return from_datetime(_in_zone(naive, site_zone))
    except (ValueError, OverflowError) as error:
        raise OutOfRangeError("a time is on no calendar") from error


def _in_zone(naive: datetime, zone: ZoneInfo | None) -> datetime:
    early, late = naive.replace(tzinfo=zone, fold=0), naive.replace(tzinfo=zone, fold=1)
    if early.utcoffset() != late.utcoffset():
        raise OutOfRangeError("a local time occurs twice or never that day (summer time)")
    return early


def acknowledgement(
    header: Header,
    code: str,
    *,
    own_id: str,
    now_ns: int,
    text: str = "",
    condition: tuple[str, str] = ACCEPTED,
    location: str = "",
) -> bytes | None:
    """The answer to a message, None where its sender asked for none.

    Parameters
    ----------
    header : Header
        Of the message answered.
    code : str
        AA, AE or AR. Where only a commit acknowledgement is wanted it becomes CA, CE or CR.
    own_id : str
        MSH-10 of the answer.
    now_ns : int
        Time of the answer.
    text : str
        What a person should know and do; without patient data.
    condition : tuple of (str, str)
        HL7 table 0357.
    location : str
        ERR-2: segment, sequence and field.
    """
    original = not header.accept_mode and not header.application_mode
    if not original and not _wanted(header.application_mode, code):
        if not _wanted(header.accept_mode, code):
            return None
        code = f"C{code[1]}"
    stamp = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).strftime("%Y%m%d%H%M%S+0000")
    trigger = _plain(header.trigger)
    receiver = "|".join(_plain(part) for part in header.sender.split("|")[:2])
    version = _plain(header.version) or "2.5"
    mode = f"{_plain(header.processing_id) or 'P'}|{version}||||||UNICODE UTF-8"
    lines = [
        f"MSH|^~\\&|WARDSTREAM||{receiver or '|'}|{stamp}||ACK^{trigger}^ACK|{own_id}|{mode}",
        f"MSA|{code}|{_plain(header.control_id)}|{_escaped(text)[:200]}".rstrip("|"),
    ]
    if code[1] != "A":
        number, words = condition
        lines.append(f"ERR||{location}|{number}^{words}^HL70357|E||||{_escaped(text)[:250]}")
    return ("\r".join(lines) + "\r").encode()


def _wanted(mode: str, code: str) -> bool:
    if mode in ("", "NE"):
        return False
    return mode == "AL" or (mode == "SU") == (code == "AA")


def _plain(text: str) -> str:
    return re.sub(r"[^\x20-\x7b}]|[|\\&~]", " ", text).strip()[:_MAX_CONTROL_ID]


def _escaped(text: str) -> str:
    for character, name in (("\\", "E"), ("|", "F"), ("^", "S"), ("~", "R"), ("&", "T")):
        text = text.replace(character, f"\\{name}\\")
    return text.replace("\r", " ").replace("\n", " ")
