"""The whole agent on a recording, by its own command: tiers do not import one another.

What a recording gave is kept on disk under a key of everything that decided it: the sources
of the agent and of the shelf, the model, and the recording. The second run of a protocol,
and the next protocol on the same recordings, only read.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from models.settings import CHECKOUT, SHIPPED_BUNDLE
from wardstream.contracts.alert import AlertPriority, Transition
from wardstream.contracts.errors import ContractError

BEGINS: Final = frozenset({Transition.ONSET, Transition.REACTIVATED})

_TIMEOUT_S: Final = 1800.0
_DECIDES: Final = ("edge_agent", "wardstream")


class ReplayedEvent(msgspec.Struct, frozen=True):
    """One line of ``edge_agent replay --json --all-transitions``.

    Attributes
    ----------
    condition, priority, transition : str
        As in an `AlertEvent`.
    time_s : float
        Second of the recording at which it was decided; no later sample was used.
    decision_latency_ms : float
        From the last sample's arrival to the decision.
    """

    condition: str
    priority: AlertPriority
    transition: Transition
    time_s: float
    decision_latency_ms: float

    @property
    def begins(self) -> bool:
        """Whether an alert began, or came back."""
        return self.transition in BEGINS

    @property
    def is_high_onset(self) -> bool:
        """Whether a high-priority alert began, or came back."""
        return self.begins and self.priority is AlertPriority.HIGH


class UnreadableRecordError(ContractError):
    """The agent cannot replay a recording."""


@dataclass(frozen=True, kw_only=True)
class AgentReplay:
    """Replays recordings through the agent of this checkout.

    Attributes
    ----------
    bundle_dir : Path
        Model that judges.
    cache_dir : Path
        Where results are kept.
    """

    bundle_dir: Path = SHIPPED_BUNDLE
    cache_dir: Path

    def events(self, record: Path) -> list[ReplayedEvent]:
        """Every change of every alert on `record` (path without extension), in time order.

        Raises
        ------
        UnreadableRecordError
            The agent refuses the recording or ends otherwise; its own words are in the message.
        """
        kept = self.cache_dir / "replays" / self.key / record.parent.name / record.name
        name = kept.with_name(f"{record.name}-{_digest_of(record)}.jsonl")
        if name.exists():
            return parse_events(name.read_bytes())
        output = self._run(record)
        events = parse_events(output)
        name.parent.mkdir(parents=True, exist_ok=True)
        scratch = name.with_suffix(f".{os.getpid()}")
        scratch.write_bytes(output)
        scratch.replace(name)
        return events

    def _run(self, record: Path) -> bytes:
        command = [
            *(sys.executable, "-m", "edge_agent", "replay", str(record.resolve())),
            *("--json", "--all-transitions", "--model", str(self.bundle_dir.resolve())),
        ]
        # One thread: what is judged here is one bed, and other work has the other cores.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
            raise UnreadableRecordError(f"{record}: the agent ended with {done.returncode}: {said}")
        return done.stdout

    @cached_property
    def key(self) -> str:
        """What decides, once and for all of this run: sources and model."""
        digest = sha256(source_digest(CHECKOUT).encode())
        for path in sorted(self.bundle_dir.glob("*")):
            if path.suffix in {".json", ".onnx"} and not path.name.startswith("evaluation"):
                digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()[:16]


def parse_events(output: bytes) -> list[ReplayedEvent]:
    """Events of JSON `output`, one a line.

    Raises
    ------
    UnreadableRecordError
        A line is no event.
    """
    try:
        return [
            msgspec.json.decode(line, type=ReplayedEvent)
            for line in output.splitlines()
            if line.strip()
        ]
    except msgspec.MsgspecError as error:
        raise UnreadableRecordError(f"a line of the agent is no alert: {error}") from error


def source_digest(checkout: Path) -> str:
    """Digest over every source file that takes part in a bed's decision."""
    digest = sha256()
    for package in _DECIDES:
        for path in sorted((checkout / package).rglob("*.py")):
            digest.update(str(path.relative_to(checkout)).encode() + path.read_bytes())
    return digest.hexdigest()


def _digest_of(record: Path) -> str:
    digest = sha256()
    for suffix in (".hea", ".dat"):
        path = record.with_suffix(suffix)
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def active_spans(
    events: Sequence[ReplayedEvent], condition: str, end_s: float
) -> list[tuple[float, float]]:
    """Stretches over which an alert on `condition` was there, in seconds of the recording.

    Notes
    -----
    It begins with its onset or return and lasts until the condition was found gone (cleared or
    ended), whether or not it stays latched after that.
    """
    spans: list[tuple[float, float]] = []
    since: float | None = None
    for event in events:
        if event.condition != condition:
            continue
        if event.begins and since is None:
            since = event.time_s
        elif event.transition in (Transition.CLEARED, Transition.ENDED) and since is not None:
            spans.append((since, event.time_s))
            since = None
    if since is not None:
        spans.append((since, end_s))
    return spans
