"""Whether a consumer group still moves: judged from outside, for consumers die silently.

Faust and aiokafka know many ways to stand still with every connection up, and to follow a log
that is no longer there (reference/libraries.md section 4). The one cure that always holds is a
new process, so all this does is say when.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Final

Partition = tuple[str, int]

_UNASSIGNED: Final = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """One partition: the next offset to be written, and the next the group has to process."""

    end: int
    committed: int


@dataclass(slots=True)
class StallDetector:
    """Remembers since when each partition has not moved.

    Attributes
    ----------
    patience_s : float
        How long a partition with work may stand still.
    """

    patience_s: float
    _seen: dict[Partition, Progress] = field(default_factory=dict[Partition, Progress])
    _moved_s: dict[Partition, float] = field(default_factory=dict[Partition, float])

    def judge(
        self,
        progress: Mapping[Partition, Progress],
        ours: Set[Partition],
        now_s: float,
        *,
        may_stand: bool,
    ) -> str | None:
        """Why a new process is needed, None while all is well.

        Parameters
        ----------
        progress : mapping
            As the brokers say now.
        ours : set
            Partitions this process is to work on. With none, it watches all with more patience:
            a group that no one is let into stands still as well.
        now_s : float
            A clock that only runs forward.
        may_stand : bool
            Standing still is right, for the store is away.
        """
        for partition, now in progress.items():
            before = self._seen.get(partition)
            if before is not None and now.end < before.end:
                return f"log of {partition} shrank from {before.end} to {now.end}: Kafka lost it"
            moved = before is None or now.committed != before.committed
            idle = now.committed >= now.end
            others = bool(ours) and partition not in ours
            if moved or idle or may_stand or others:
                self._moved_s[partition] = now_s
            self._seen[partition] = now
            stood_s = now_s - self._moved_s[partition]
            if stood_s > (self.patience_s if ours else _UNASSIGNED * self.patience_s):
                return f"{partition} stands at {now.committed} of {now.end} for {stood_s:.0f} s"
        return None
