"""The serial framing of analogue front-ends such as ADS1298 boards: bytes in, frames out.

One frame carries one or more consecutive samples of every channel. Little-endian but for the
samples, which are as the ADS129x shifts them out: two's complement, most significant byte first.

====== ======= =====================================================================
offset bytes   what
====== ======= =====================================================================
0      2       sync ``A5 5A``
2      1       version of the framing, ``01``
3      1       n_channels, 1 to 8 (bits 0-3); bits 4-7 are 0
4      1       n_samples a channel, 1 to 64
5      2       sequence number of the frame, modulo 65536
7      1       lead-off, positive inputs: bit i is channel i (LOFF_STATP)
8      1       lead-off, negative inputs (LOFF_STATN)
9      3·c·s   samples, sample by sample, channel by channel, 24 bits
…      2       CRC-16/CCITT-FALSE (polynomial 1021, begin FFFF) of bytes 2 to here
====== ======= =====================================================================

A frame whose CRC does not hold is left out, and the search for the next sync goes on one byte
later, so a frame that noise hides in is found. A sync pattern within samples costs nothing: its
length and CRC do not hold.
"""

import binascii
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError

SYNC: Final = b"\xa5\x5a"
VERSION: Final = 1
MAX_CHANNELS: Final = 8
MAX_SAMPLES: Final = 64
FULL_SCALE: Final = 0x7FFFFF

_HEADER: Final = struct.Struct("<2sBBBHBB")
_CRC: Final = struct.Struct("<H")
MAX_FRAME_BYTES: Final = _HEADER.size + 3 * MAX_CHANNELS * MAX_SAMPLES + _CRC.size


@dataclass(frozen=True, slots=True, eq=False)
class SerialFrame:
    """One frame.

    Attributes
    ----------
    sequence_number : int
        0 to 65535, of the frame.
    lead_off : int
        Bit i: an electrode of channel i is off.
    counts : ndarray of int32, shape (n_channels, n_samples)
        ADC counts, -2**23 to 2**23 - 1.
    """

    sequence_number: int
    lead_off: int
    counts: NDArray[np.int32]


def encode_frame(
    sequence_number: int,
    counts: NDArray[np.int32],
    lead_off_positive: int = 0,
    lead_off_negative: int = 0,
) -> bytes:
    """The bytes of one frame, as the firmware of a front-end sends them.

    Raises
    ------
    OutOfRangeError
        The counts do not fit a frame.
    """
    n_channels, n_samples = counts.shape
    if not (1 <= n_channels <= MAX_CHANNELS and 1 <= n_samples <= MAX_SAMPLES):
        raise OutOfRangeError(f"a frame holds 1-8 channels of 1-64 samples, not {counts.shape}")
    if counts.size and not (counts.min() >= -FULL_SCALE - 1 and counts.max() <= FULL_SCALE):
        raise OutOfRangeError("a count needs more than 24 bits")
    header = _HEADER.pack(
        SYNC,
        VERSION,
        n_channels,
        n_samples,
        sequence_number & 0xFFFF,
        lead_off_positive,
        lead_off_negative,
    )
    words = counts.T.astype(">i4").reshape(-1, 1).view(np.uint8)[:, 1:]
    body = header[2:] + words.tobytes()
    return SYNC + body + _CRC.pack(binascii.crc_hqx(body, 0xFFFF))


class SerialFramer:
    """Frames as they become whole; everything else is a reason."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> tuple[list[SerialFrame], list[str]]:
        """(whole frames, reasons for what was left out) now that `data` is here."""
        self._held += data
        frames: list[SerialFrame] = []
        reasons: list[str] = []
        while True:
            at = self._held.find(SYNC)
            if at < 0:
                keep = 1 if self._held.endswith(SYNC[:1]) else 0
                if len(self._held) > keep:
                    reasons.append("bytes outside a frame")
                del self._held[: len(self._held) - keep]
                break
            if at:
                reasons.append("bytes outside a frame")
                del self._held[:at]
            if len(self._held) < _HEADER.size:
                break
            problem, size = _check_header(self._held)
            if not problem and len(self._held) < size:
                break
            problem = problem or _check_crc(self._held, size)
            if problem:
                reasons.append(problem)
                del self._held[:1]
                # What remains of the false start is not told a second time.
                self._skip_to_sync()
                continue
            frames.append(_decode(bytes(self._held[:size])))
            del self._held[:size]
        return frames, reasons

    def _skip_to_sync(self) -> None:
        at = self._held.find(SYNC)
        if at < 0:
            at = len(self._held) - (1 if self._held.endswith(SYNC[:1]) else 0)
        del self._held[:at]


def _check_header(held: bytearray) -> tuple[str, int]:
    _, version, n_channels, n_samples, *_ = _HEADER.unpack_from(held)
    if version != VERSION:
        return "a frame of another version", 0
    if not (1 <= n_channels <= MAX_CHANNELS and 1 <= n_samples <= MAX_SAMPLES):
        return "a frame of impossible size", 0
    return "", _HEADER.size + 3 * n_channels * n_samples + _CRC.size


def _check_crc(held: bytearray, size: int) -> str:
    (stated,) = _CRC.unpack_from(held, size - _CRC.size)
    held_crc = binascii.crc_hqx(bytes(held[2 : size - _CRC.size]), 0xFFFF)
    return "" if stated == held_crc else "a frame whose checksum does not hold"


def _decode(frame: bytes) -> SerialFrame:
    _, _, n_channels, n_samples, number, positive, negative = _HEADER.unpack_from(frame)
    words = np.frombuffer(frame, np.uint8, 3 * n_channels * n_samples, _HEADER.size)
    wide = np.zeros((n_samples * n_channels, 4), dtype=np.uint8)
    wide[:, :3] = words.reshape(-1, 3)
    counts = (wide.reshape(-1).view(">i4") >> 8).astype(np.int32)
    return SerialFrame(number, positive | negative, counts.reshape(n_samples, n_channels).T)
