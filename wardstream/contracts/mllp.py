"""MLLP: ``<VT> message <FS><CR>`` out of a stream of bytes that may hold anything.

HL7 Minimal Lower Layer Protocol, release 1 (HL7 v2 implementation guide, appendix C). Both a bed's
monitor gateway and a hospital's record system speak it.
"""

from typing import Final

START: Final = b"\x0b"
END: Final = b"\x1c\x0d"
MAX_MESSAGE_BYTES: Final = 1 << 20
"""Longer is no message of a monitor; also the most one connection may make us hold."""


class MllpFramer:
    """Frames as they become whole. Bytes outside a frame are counted as noise, not guessed at."""

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._inside = False
        self._overlong = False

    @property
    def half_frame(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._inside

    def feed(self, data: bytes) -> tuple[list[bytes], list[str]]:
        """(whole messages, reasons for what had to be left out) now that `data` is here."""
        self._held += data
        messages: list[bytes] = []
        reasons: list[str] = []
        while self._held:
            if not self._inside and not self._begin(reasons):
                break
            end = self._held.find(END)
            again = self._held.rfind(START, 0, end if end >= 0 else len(self._held))
            if again >= 0:
                reasons.append("a frame began before the one before had ended")
                del self._held[: again + 1]
                self._overlong = False
                continue
            if end < 0:
                self._shorten(reasons)
                break
            if not self._overlong and end > self._max_bytes:
                reasons.append(f"a frame is longer than {self._max_bytes} bytes")
            elif not self._overlong:
                messages.append(bytes(self._held[:end]))
            del self._held[: end + len(END)]
            self._inside = self._overlong = False
        return messages, reasons

    def _begin(self, reasons: list[str]) -> bool:
        start = self._held.find(START)
        noise = self._held[: start if start >= 0 else len(self._held)]
        if noise.strip(b"\r\n"):  # some senders end a frame with a line feed of their own
            reasons.append("bytes between two frames")
        if start < 0:
            self._held.clear()
            return False
        del self._held[: start + 1]
        self._inside = True
        return True

    def _shorten(self, reasons: list[str]) -> None:
        if len(self._held) <= self._max_bytes:
            return
        if not self._overlong:
            reasons.append(f"a frame is longer than {self._max_bytes} bytes")
        self._overlong = True
        del self._held[: -len(END) + 1]
