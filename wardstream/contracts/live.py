"""Looking at a bed's curves as they come: asked for under a signature, for seconds, under a lease.

Raw curves leave a device in two ways only: as an `AlertStrip`, and as `LiveCurves` while a
named person's station has both a live lease of this device and a view that it asked for.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.identity import check_boot_id, check_id, check_sequence_number
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.waveform import WaveformChunk

LONGEST_VIEW_S: Final = 60.0
"""Longest view a station may ask for at once; it asks again while somebody looks."""

LONGEST_REQUEST_NS: Final = 10 * NS_PER_S
"""Longest time between asking and being heard: a recorded request is worth nothing later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveViewCommand:
    """A station asks to see the curves of one bed.

    Attributes
    ----------
    command_id : str
        UUID; names the view, and the samples that are sent for it.
    device_id, boot_id : str
        The device, and the life of it that was heard last.
    station_id : str
        UUID of the station; only its live lease, held by `author`, opens the view and keeps it.
    author : str
        Who looks.
    seconds : float
        For how long, up to `LONGEST_VIEW_S`.
    issued_time_ns, expires_time_ns : TimestampNs
        When it was asked, and until when it may be heard, at most `LONGEST_REQUEST_NS` later.
    signature : str
        As of any order, see `wardstream.contracts.authority`.

    Raises
    ------
    OutOfRangeError
        An id is malformed, there is no author, or it asks for too long.
    """

    SCHEMA: ClassVar[str] = "live_view/1"

    command_id: str
    device_id: str
    boot_id: str
    station_id: str
    author: str
    seconds: float
    issued_time_ns: TimestampNs
    expires_time_ns: TimestampNs
    signature: str = ""

    def __post_init__(self) -> None:
        for uuid in (self.command_id, self.boot_id, self.station_id):
            check_boot_id(uuid)
        check_id(self.device_id, "device_id")
        if not self.author:
            raise OutOfRangeError("a view has an author")
        if not 0 < self.seconds <= LONGEST_VIEW_S:
            raise OutOfRangeError(f"a view lasts 0 to {LONGEST_VIEW_S:g} s")
        if not 0 < self.expires_time_ns - self.issued_time_ns <= LONGEST_REQUEST_NS:
            raise OutOfRangeError(f"a request holds for 0 to {LONGEST_REQUEST_NS // NS_PER_S} s")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveCurves:
    """What a view shows: one stretch of samples, sent once, lost if nobody hears it.

    Attributes
    ----------
    device_id, boot_id : str
        Whose.
    sequence_number : int
        0, 1, 2, ... within `view_id`; a jump says that something was lost or left out.
    view_id : str
        The command that asked for it.
    chunks : tuple of WaveformChunk
        Same device as the message.

    Raises
    ------
    OutOfRangeError
        An id is malformed, or a chunk belongs to another device.
    """

    SCHEMA: ClassVar[str] = "live_curves/1"

    device_id: str
    boot_id: str
    sequence_number: int
    view_id: str
    chunks: tuple[WaveformChunk, ...]

    def __post_init__(self) -> None:
        check_id(self.device_id, "device_id")
        check_boot_id(self.boot_id)
        check_sequence_number(self.sequence_number)
        check_boot_id(self.view_id)
        if any(chunk.device_id != self.device_id for chunk in self.chunks):
            raise OutOfRangeError(f"a view of {self.device_id} holds another device's samples")
