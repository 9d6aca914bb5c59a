"""What of a message that could not be taken may be kept: enough to see why, nobody's name."""

from typing import Final

_KEPT_FIELDS: Final = {
    b"MSH": (3, 4, 5, 6, 7, 9, 10, 11, 12, 15, 16, 18, 21),
    b"EVN": (1, 2, 6),
    b"PV1": (2, 3, 6, 44, 45),
    b"OBR": (4, 7, 8),
    b"OBX": (1, 2, 3, 4, 5, 6, 8, 11, 14),
    b"DG1": (1, 3, 4, 5, 6),
    b"PID": (7, 8),
}
"""Segment -> fields that are kept. Of any other segment only the name is."""
_LONGEST_KEPT: Final = 64_000


def without_identifiers(payload: bytes) -> bytes:
    """The message with every field blanked that may tell who the patient is.

    Of what is no segment at all only the length is kept: it may be the middle of a name.
    """
    kept: list[bytes] = []
    for line in payload.replace(b"\r\n", b"\r").replace(b"\n", b"\r").split(b"\r"):
        name, rest = line[:3], line[3:4]
        if name in _KEPT_FIELDS and rest == b"|":
            kept.append(_blanked(line, _KEPT_FIELDS[name], 1 if name == b"MSH" else 0))
        elif len(name) == 3 and name.isalnum() and name.isupper() and rest in (b"|", b""):
            kept.append(name)
        elif line:
            kept.append(b"(%d bytes withheld)" % len(line))
    return b"\r".join(kept)[:_LONGEST_KEPT]


def _blanked(line: bytes, positions: tuple[int, ...], shift: int) -> bytes:
    # MSH-1 is the separator itself, so its fields count one more than the cuts.
    fields = line.split(b"|")
    kept = {position - shift for position in positions} | {0} | ({1} if shift else set())
    return b"|".join(f if i in kept else b"" for i, f in enumerate(fields)).rstrip(b"|")
