"""Protocol ``quiet``: how often does the whole agent raise a high-priority alarm for nothing?

clinical.md section 4: mitdb, bidmc, and the time before 4:30 of cinc2015 records whose alarm
was judged false; whole agent, default profile. On mitdb an alarm that the marked beats justify
is true; elsewhere nobody marked beats, so every alarm counts as false.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.datasets.alarms import alarm_records
from models.datasets.recording import record_length_s, record_paths
from models.evaluation.agent_replay import ReplayedEvent
from models.evaluation.beat_truth import Spans, is_true, justified
from models.evaluation.beats import read_reference_beats
from models.evaluation.episode_protocol import prediction_table
from models.evaluation.harness import EvaluationRequest
from models.evaluation.outcome import Outcome, Strip, ends, present, rounded
from models.evaluation.replayed import agents_for, replay_all
from models.evaluation.report import ProtocolReport
from models.evaluation.statistics import cluster_bootstrap, per_hour_of, ratio, sum_by_cluster
from wardstream.contracts.errors import ConfigurationError

CINC_UNTIL_S: Final = 270.0
_SAME_PATIENT: Final = {"202": "201"}
_BIDMC_PATIENTS: Final = {
    "07": "06",
    "08": "06",
    "09": "06",
    "21": "20",
    "22": "20",
    "23": "20",
    "39": "38",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietRecord:
    """One record and what may justify an alarm in it.

    Attributes
    ----------
    path : Path
        WFDB record, no extension.
    dataset, patient : str
        Where from, whose.
    length_s : float
        What is counted, from its begin.
    justified : mapping of condition to spans
        Where an alarm is true.
    is_labelled : bool
        Whether alarms in it can be counted: on mitdb, whether its beats are marked.
    """

    path: Path
    dataset: str
    patient: str
    length_s: float
    justified: Mapping[str, Spans]
    is_labelled: bool = True

    def false(self, events: Sequence[ReplayedEvent]) -> list[ReplayedEvent]:
        """High-priority alerts among `events` with nothing to stand on."""
        return [
            event
            for event in events
            if event.is_high_onset
            and event.time_s < self.length_s
            and not is_true(event.condition, event.time_s, self.justified)
        ]


def evaluate_quiet(request: EvaluationRequest) -> Outcome:
    """Run the protocol."""
    records = _records(request)
    agent_of, folds, model = agents_for(request, [record.patient for record in records])
    replays = replay_all(request, agent_of, [(r.patient, r.path) for r in records])
    events = [
        [event for event in found if event.time_s < record.length_s]
        for record, found in zip(records, replays, strict=True)
    ]
    report = ProtocolReport(
        protocol="quiet",
        model=model,
        cross_validated=request.cross_validate,
        n_records=len(records),
        folds=folds,
    )
    scored = [i for i, record in enumerate(records) if record.is_labelled]
    if scored:
        _figures(report, [records[i] for i in scored], [events[i] for i in scored])
    return Outcome(
        report=report,
        predictions=prediction_table(
            (r.path.name, e) for r, e in zip(records, events, strict=True)
        ),
        worst=tuple(_worst([records[i] for i in scored], [events[i] for i in scored])),
        notes=_NOTES,
    )


_NOTES: Final = (
    (
        "On mitdb an alarm within 10 s of what the marked beats justify (asystole 4 s, 5 beats below "
        "40 /min, 17 above 140, a run of 5 ventricular beats above 100, flutter) is true; on bidmc "
        "and cinc2015 no beats are marked and every high-priority alarm counts as false."
    ),
    (
        "false_high_priority_per_hour is mitdb's, where truth is known (without mitdb, of all "
        "there is); all data sets together stand beside it."
    ),
)


def _records(request: EvaluationRequest) -> list[QuietRecord]:
    found: list[QuietRecord] = []
    if (request.data_dir / "mitdb").is_dir():
        found += [_mitdb(path) for path in record_paths(request.folder("mitdb"))]
    if (request.data_dir / "bidmc").is_dir():
        found += [_bidmc(path) for path in record_paths(request.folder("bidmc"))]
    if (request.data_dir / "cinc2015").is_dir():
        found += _false_alarm_records(request.folder("cinc2015"))
    if not found:
        raise ConfigurationError(
            [f"no record of mitdb, bidmc or cinc2015 is in {request.data_dir}: --data names them"]
        )
    return found


def _mitdb(path: Path) -> QuietRecord:
    labelled = path.with_suffix(".atr").exists()
    return QuietRecord(
        path=path,
        dataset="mitdb",
        patient=f"mitdb/{_SAME_PATIENT.get(path.name, path.name)}",
        length_s=record_length_s(path),
        justified=justified(read_reference_beats(path), _rate_hz(path)) if labelled else {},
        is_labelled=labelled,
    )


def _rate_hz(path: Path) -> float:
    from models.datasets.physionet import read_header

    return float(read_header(path).fs)


def _bidmc(path: Path) -> QuietRecord:
    return QuietRecord(
        path=path,
        dataset="bidmc",
        patient=bidmc_patient(path.name),
        length_s=record_length_s(path),
        justified={},
    )


def bidmc_patient(record: str) -> str:
    """Whose bidmc record that is: some patients have several (data/README.md)."""
    number = record.removeprefix("bidmc")
    return f"bidmc/{_BIDMC_PATIENTS.get(number, number)}"


def _false_alarm_records(folder: Path) -> list[QuietRecord]:
    return [
        QuietRecord(
            path=record.path,
            dataset="cinc2015",
            patient=record.block,
            length_s=min(CINC_UNTIL_S, record_length_s(record.path)),
            justified={},
        )
        for record in sorted(alarm_records(folder), key=lambda r: r.path.name)
        if record.is_true is False
    ]


def _figures(
    report: ProtocolReport,
    records: Sequence[QuietRecord],
    events: Sequence[Sequence[ReplayedEvent]],
) -> None:
    false = [record.false(found) for record, found in zip(records, events, strict=True)]
    rows = np.array(
        [[len(f), r.length_s / 3600] for r, f in zip(records, false, strict=True)], dtype=np.float64
    )
    datasets = sorted({record.dataset for record in records})
    for dataset in [*datasets, "all"]:
        chosen = [i for i, r in enumerate(records) if dataset in (r.dataset, "all")]
        _, sums = sum_by_cluster([records[i].patient for i in chosen], rows[chosen])
        n_false, hours = rows[chosen].sum(axis=0)
        high = sum(event.is_high_onset for i in chosen for event in events[i])
        report.metrics[dataset] = {
            "hours": rounded(hours),
            "n_high": high,
            "n_false": int(n_false),
            **present(
                {
                    "false_per_hour": ratio(n_false, hours),
                    "false_per_bed_day": 24 * ratio(n_false, hours),
                }
            ),
            "by_condition": dict(Counter(event.condition for i in chosen for event in false[i])),
        }
        if (limits := ends(cluster_bootstrap(sums, per_hour_of))) is not None:
            report.confidence[dataset] = {"false_per_hour": limits}
    headline = "mitdb" if "mitdb" in datasets else "all"
    report.metrics["false_high_priority_per_hour"] = report.metrics[headline]["false_per_hour"]
    if headline in report.confidence:
        limits = report.confidence[headline]["false_per_hour"]
        report.confidence["false_high_priority_per_hour"] = limits


def _worst(
    records: Sequence[QuietRecord], events: Sequence[Sequence[ReplayedEvent]]
) -> list[Strip]:
    false = [record.false(found) for record, found in zip(records, events, strict=True)]
    order = np.argsort([-len(found) for found in false], kind="stable")
    return [
        Strip(
            record=records[i].path,
            start_s=max(false[i][0].time_s - 12.0, 0.0),
            end_s=false[i][0].time_s + 3.0,
            caption=f"{records[i].dataset}/{records[i].path.name}: false {false[i][0].condition} "
            f"(one of {len(false[i])} in the record)",
            marks=(("alert", (false[i][0].time_s,)),),
        )
        for i in map(int, order[:10])
        if false[i]
    ]
