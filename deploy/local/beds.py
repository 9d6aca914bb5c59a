"""What each virtual bed replays: real recordings where there are any, else a simulated patient."""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from deploy.local.layout import CHECKOUT
from wardstream.contracts.errors import ConfigurationError

_LEAD_S = 20.0
"""How long before its crisis a recording begins: time for the filters and for the eye."""

_SCENARIOS = ("arrest", "rest", "crises", "respiratory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What one bed plays.

    Attributes
    ----------
    kind : str
        ``wfdb`` or ``simulator``.
    what : str
        For people, for example ``cudb/cu34 from 99 s``.
    record, script : Path or None
        Recording without extension, or crisis script.
    start_s : float
        Where in the recording to begin.
    seed : int
        Of the simulated patient.
    """

    kind: str
    what: str
    record: Path | None = None
    script: Path | None = None
    start_s: float = 0.0
    seed: int = 0

    def settings(self) -> dict[str, str]:
        """The edge agent's environment for it."""
        source = {"KIND": self.kind, "PACE": "realtime"}
        if self.record is not None:
            source |= {"RECORD": str(self.record), "LOOP": "true", "START_S": f"{self.start_s:g}"}
        if self.script is not None:
            source |= {"SCRIPT": str(self.script), "SEED": str(self.seed)}
        return {f"EDGE_SOURCE__{name}": value for name, value in source.items()}


def find_data(chosen: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Folder of recordings: given, ``WARDSTREAM_DATA``, else ``../shared/data``; None if absent.

    Raises
    ------
    ConfigurationError
        A folder was given or set, and is not there.
    """
    named = chosen or (
        Path(environment["WARDSTREAM_DATA"]) if environment.get("WARDSTREAM_DATA") else None
    )
    if named is not None:
        if not named.is_dir():
            raise ConfigurationError([f"there is no folder {named} with recordings"])
        return named.resolve()
    default = CHECKOUT.parent / "shared" / "data"
    return default.resolve() if default.is_dir() else None


def plan_beds(n_beds: int, data: Path | None) -> list[Performance]:
    """What beds 1 to `n_beds` play; the first one fibrillates within the first minute."""
    kinds: list[Iterator[Performance]] = []
    if data is not None:
        finders: tuple[Callable[[Path], Iterator[Performance]], ...] = (
            fibrillations,
            monitored_patients,
            true_alarms,
            rhythms,
        )
        found = [list(find(data)) for find in finders]
        kinds = [cycle(performances) for performances in found if performances]
    if not kinds:
        kinds = [_simulated(i, script) for i, script in enumerate(_SCENARIOS)]
    return list(islice((next(kind) for kind in cycle(kinds)), n_beds))


def fibrillations(data: Path) -> Iterator[Performance]:
    """Records of cudb, each beginning shortly before its longest labelled fibrillation."""
    table = data / "cudb" / "vf_intervals.csv"
    if not table.is_file():
        return
    longest: dict[str, tuple[float, float]] = {}
    with table.open(newline="") as rows:
        for row in csv.DictReader(rows):
            onset_s, end_s = float(row["vf_start_s"]), float(row["vf_end_s"])
            if onset_s >= 2 * _LEAD_S:
                length_s = end_s - onset_s
                longest[row["record"]] = max(
                    longest.get(row["record"], (0.0, 0.0)), (length_s, onset_s)
                )
    # At least a minute of fibrillation, so that nobody can miss it.
    for record, (length_s, onset_s) in sorted(longest.items()):
        if length_s >= 60 and (data / "cudb" / f"{record}.hea").is_file():
            yield _recorded(data, "cudb", record, onset_s - _LEAD_S)


def monitored_patients(data: Path) -> Iterator[Performance]:
    """Records of bidmc: ECG, photoplethysmogram and respiration with the monitor's numerics."""
    for header in sorted((data / "bidmc").glob("bidmc??.hea")):
        yield _recorded(data, "bidmc", header.stem, 0.0)


def true_alarms(data: Path) -> Iterator[Performance]:
    """Records of cinc2015 with a true asystole or fibrillation, beginning before the alarm."""
    table = data / "cinc2015" / "ALARMS.csv"
    if not table.is_file():
        return
    with table.open(newline="") as rows:
        for row in csv.DictReader(rows):
            is_true = row["label"] == "1"
            if is_true and row["alarm_type"] in {"Asystole", "Ventricular_Flutter_Fib"}:
                # The alarm is at 5:00, its rhythm begins within the ten seconds before.
                yield _recorded(data, "cinc2015", row["record"], 300 - 10 - 2 * _LEAD_S)


def rhythms(data: Path) -> Iterator[Performance]:
    """Records of mitdb: everyday rhythms, ectopy and atrial fibrillation."""
    for header in sorted((data / "mitdb").glob("???.hea")):
        yield _recorded(data, "mitdb", header.stem, 60.0)


def _recorded(data: Path, folder: str, record: str, start_s: float) -> Performance:
    return Performance(
        kind="wfdb",
        what=f"{folder}/{record} from {start_s:.0f} s",
        record=data / folder / record,
        start_s=round(start_s, 3),
    )


def _simulated(seed: int, script: str) -> Iterator[Performance]:
    path = CHECKOUT / "firmware_configs" / "scenarios" / f"{script}.yaml"
    n = 0
    while True:
        yield Performance(
            kind="simulator",
            what=f"simulated patient, {script}",
            script=path,
            seed=seed + len(_SCENARIOS) * n + 1,
        )
        n += 1


def describe(performances: list[Performance]) -> str:
    """For the status line: what the beds replay."""
    if all(performance.kind == "simulator" for performance in performances):
        return "simulated patients"
    folders = {p.record.parent.name for p in performances if p.record is not None}
    return f"real recordings ({', '.join(sorted(folders))})"
