"""What a bed's own log says of its lives: when it judged, and what it sounded."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class FirstJudged:
    """The first sample of a life.

    Attributes
    ----------
    time_s : float
        Unix time at which it had been judged.
    since_start_s : float
        Age of the process by then.
    """

    time_s: float
    since_start_s: float


@dataclass(frozen=True, slots=True)
class Sounded:
    """An alert event that was shown at the bed; `event_time_ns` is on the clock of the data."""

    alert_id: str
    transition: str
    event_time_ns: int


class BedLog:
    """Reads the log of one bed as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self.first_judged: list[FirstJudged] = []
        self.sounded: list[Sounded] = []

    def read_on(self) -> None:
        """Take in the whole lines that are new. A line that a kill cut off is passed over."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                content = file.read()
        except FileNotFoundError:
            return
        whole, newline, _ = content.rpartition(b"\n")
        self._at += len(whole) + len(newline)
        for line in whole.splitlines():
            # The next life's first line may stand behind what is left of the one before.
            begin = line.rfind(b'{"time": ')
            if begin >= 0:
                self._note(line[begin:])

    def _note(self, line: bytes) -> None:
        try:
            said: dict[str, Any] = json.loads(line)
        except ValueError:
            return
        if said.get("event") == "first_judged":
            time_s = datetime.fromisoformat(said["time"]).timestamp()
            self.first_judged.append(FirstJudged(time_s, float(said["since_start_s"])))
        elif said.get("event") == "alert":
            self.sounded.append(
                Sounded(said["alert_id"], said["transition"], int(said["event_time_ns"]))
            )
