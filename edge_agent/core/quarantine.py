"""What came and could not be taken: each kind once, counted, and bounded."""

from typing import Final

from edge_agent.core.ports import Quarantined

MAX_ENTRIES: Final = 256
"""Kinds of trouble that are told apart; a hostile peer may invent more."""

MAX_TEXT: Final = 240
"""Longest reason that is kept; it may quote what came."""

_REST: Final = ("(others)", "more kinds of malformed input than are told apart")


class QuarantineLedger:
    """(channel, reason) with how often each came. Payloads are not kept: they may name people."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    @property
    def entries(self) -> tuple[Quarantined, ...]:
        """Every kind so far, in the order in which they came."""
        return tuple(Quarantined(*kind, count) for kind, count in self._counts.items())

    @property
    def total(self) -> int:
        """How often anything was refused."""
        return sum(self._counts.values())

    def note(self, channel: str, reason: str) -> bool:
        """Count one refusal; whether it is the first of its kind."""
        kind = (_printable(channel)[:64], _printable(reason)[:MAX_TEXT])
        if kind not in self._counts and len(self._counts) >= MAX_ENTRIES:
            kind = _REST
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return self._counts[kind] == 1


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
