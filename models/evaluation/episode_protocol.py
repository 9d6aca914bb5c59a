"""Protocol ``episodes``: does the agent alarm VF, flutter, rapid VT and asystole in time?

clinical.md section 4: vfdb and cudb, the whole agent; an alarm within 10 s after the labelled
onset counts, an alarm outside any episode ±10 s is false.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.cudb import cudb_spans
from models.datasets.recording import Recording, read_leads, record_length_s
from models.datasets.rhythm_marks import rhythm_spans, vfdb_recordings
from models.evaluation.agent_replay import ReplayedEvent, active_spans
from models.evaluation.episodes import (
    Alarm,
    Answer,
    Episode,
    answer,
    false_alarms,
    seconds_outside,
)
from models.evaluation.harness import EvaluationRequest
from models.evaluation.outcome import (
    Confusion,
    Outcome,
    PredictionTable,
    Strip,
    ends,
    present,
    rounded,
)
from models.evaluation.replayed import agents_for, replay_all
from models.evaluation.report import ProtocolReport
from models.evaluation.shockable import RAPID_PER_MIN, rate_per_min
from models.evaluation.statistics import (
    cluster_bootstrap,
    cluster_bootstrap_of_values,
    lower_bound_90,
    per_hour_of,
    ratio,
    sum_by_cluster,
    wilson_interval,
)
from wardstream.contracts.errors import ConfigurationError
from wardstream.kernels.resample import TARGET_RATE_HZ
from wardstream.kernels.windows import WINDOW_SAMPLES, filtered_record

_KIND_OF: Final = {"VF": "vf", "VFIB": "vf", "VFL": "vfl", "ASYS": "asystole", "VT": "rapid_vt"}
_JOIN_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRecord:
    """One record, what is labelled in it, and what the agent said.

    Attributes
    ----------
    path : Path
        WFDB record, no extension.
    patient : str
        Whose.
    length_s : float
        Its length.
    episodes : tuple of Episode
        All, those not asked for included.
    events : tuple of ReplayedEvent
        All changes of all alerts.
    """

    path: Path
    patient: str
    length_s: float
    episodes: tuple[Episode, ...]
    events: tuple[ReplayedEvent, ...] = ()

    @property
    def alarms(self) -> list[Alarm]:
        """High-priority alerts, in order of their begin."""
        conditions = {event.condition for event in self.events if event.is_high_onset}
        return sorted(
            (
                Alarm(condition=condition, start_s=start_s, end_s=end_s)
                for condition in conditions
                for start_s, end_s in active_spans(self.events, condition, self.length_s)
            ),
            key=lambda alarm: alarm.start_s,
        )

    @property
    def answers(self) -> list[Answer]:
        """What became of each episode asked for."""
        alarms = self.alarms
        return [answer(episode, alarms) for episode in self.episodes if episode.is_asked]

    @property
    def false(self) -> list[Alarm]:
        """Alarms away from any episode."""
        return false_alarms(self.alarms, self.episodes)


def evaluate_episodes(request: EvaluationRequest) -> Outcome:
    """Run the protocol."""
    records = _labelled(request)
    agent_of, folds, model = agents_for(request, [record.patient for record in records])
    replays = replay_all(request, agent_of, [(r.patient, r.path) for r in records])
    replayed = [
        replace(record, events=tuple(events))
        for record, events in zip(records, replays, strict=True)
    ]
    # A record without marks is judged and written down, but an alarm in it is neither right
    # nor wrong.
    labelled = [record for record in replayed if record.path.with_suffix(".atr").exists()]
    report = ProtocolReport(
        protocol="episodes",
        model=model,
        cross_validated=request.cross_validate,
        n_records=len(replayed),
        folds=folds,
    )
    if labelled:
        _figures(report, labelled)
    return Outcome(
        report=report,
        predictions=prediction_table((r.path.name, r.events) for r in replayed),
        confusions={"first fitting alarm by episode": _confusion(labelled)},
        worst=tuple(_worst(labelled)),
        notes=_NOTES,
    )


_NOTES: Final = (
    (
        "Whole agent, default profile, by its own replay command. VF and VFIB are one label; VT is "
        "rapid above 150 /min by autocorrelation, slower VT and episodes under 4 s are neither "
        "asked for nor held against an alarm. VF and VT alarms answer for one another; asystole and "
        "VF too. An alarm already sounding at the onset, or raised up to 10 s before the mark, is "
        "in time with delay 0."
    ),
)


def prediction_table(replays: Any) -> PredictionTable:
    """High-priority alerts of (name of the record, its events), one line each."""
    return PredictionTable(
        ("record", "condition", "priority", "time_s"),
        [
            (name, event.condition, event.priority.value, round(event.time_s, 3))
            for name, events in replays
            for event in events
            if event.is_high_onset
        ],
    )


def _labelled(request: EvaluationRequest) -> list[EpisodeRecord]:
    found: list[EpisodeRecord] = []
    if (request.data_dir / "vfdb").is_dir():
        folder = request.folder("vfdb")
        for recording in vfdb_recordings(folder):
            path = folder / recording.record
            found.append(_with_episodes(path, recording, _vfdb_episodes(path, recording)))
    if (request.data_dir / "cudb").is_dir():
        folder = request.folder("cudb")
        for recording in _cudb(folder):
            path = folder / recording.record
            marks = [(s.start_s, s.end_s, s.rhythm) for s in recording.spans]
            found.append(_with_episodes(path, recording, marks))
    if not found:
        raise ConfigurationError(
            [f"no record of vfdb or cudb is in {request.data_dir}: --data names them"]
        )
    return found


def _cudb(folder: Path) -> list[Recording]:
    from models.datasets.cudb import cudb_recordings

    return [
        replace(
            recording,
            spans=tuple(s for s in cudb_spans(folder / recording.record) if s.rhythm == "VF"),
        )
        for recording in cudb_recordings(folder)
    ]


def _vfdb_episodes(path: Path, recording: Recording) -> list[tuple[float, float, str]]:
    # Marks of the same kind that touch are one episode.
    joined: list[tuple[float, float, str]] = []
    for span in rhythm_spans(path, margin_s=0.0):
        if span.rhythm not in _KIND_OF:
            continue
        rhythm = "VF" if span.rhythm == "VFIB" else span.rhythm
        if joined and joined[-1][2] == rhythm and span.start_s - joined[-1][1] < _JOIN_S:
            joined[-1] = (joined[-1][0], span.end_s, rhythm)
        else:
            joined.append((span.start_s, span.end_s, rhythm))
    return joined


def _with_episodes(
    path: Path, recording: Recording, marks: Sequence[tuple[float, float, str]]
) -> EpisodeRecord:
    episodes = [
        Episode(
            record=f"{recording.dataset}/{recording.record}",
            patient=recording.patient_id,
            kind=_KIND_OF[rhythm],
            start_s=start_s,
            end_s=end_s,
        )
        for start_s, end_s, rhythm in marks
    ]
    if any(episode.kind == "rapid_vt" for episode in episodes):
        episodes = _slow_ones_renamed(path, episodes)
    return EpisodeRecord(
        path=path,
        patient=recording.patient_id,
        length_s=record_length_s(path),
        episodes=tuple(episodes),
    )


def _slow_ones_renamed(path: Path, episodes: Sequence[Episode]) -> list[Episode]:
    signal = read_leads(path)
    leads = [filtered_record(lead, signal.sampling_rate_hz) for lead in signal.samples_mv]
    return [
        replace(episode, kind="other")
        if episode.kind == "rapid_vt" and not episode_rate(leads, episode) > RAPID_PER_MIN
        else episode
        for episode in episodes
    ]


def episode_rate(leads: Sequence[NDArray[np.float32]], episode: Episode) -> float:
    """Median rate over the 4 s windows of `episode` in all leads (filtered, 250 Hz); NaN: unknown."""
    first, last = (round(t * TARGET_RATE_HZ) for t in (episode.start_s, episode.end_s))
    starts = range(first, max(last - WINDOW_SAMPLES, first) + 1, WINDOW_SAMPLES // 2)
    windows = [
        lead[start : start + WINDOW_SAMPLES]
        for lead in leads
        for start in starts
        if start + WINDOW_SAMPLES <= len(lead)
    ]
    if not windows:
        return math.nan
    return float(np.nanmedian(rate_per_min(np.stack(windows))))


def _figures(report: ProtocolReport, records: Sequence[EpisodeRecord]) -> None:
    answers = [a for record in records for a in record.answers]
    found = [a for a in answers if a.is_found]
    hours = [seconds_outside(r.length_s, r.episodes) / 3600 for r in records]
    false = [len(record.false) for record in records]
    delays = [np.array([a.delay_s for a in r.answers if a.is_found]) for r in records]
    pooled = np.concatenate(delays) if found else np.zeros(0)
    latencies = [e.decision_latency_ms for r in records for e in r.events if e.begins]
    report.metrics.update(
        present(
            {
                "sensitivity": ratio(len(found), len(answers)),
                "delay_p50_s": float(np.median(pooled)) if len(pooled) else math.nan,
                "delay_p95_s": float(np.quantile(pooled, 0.95)) if len(pooled) else math.nan,
                "false_alarms_per_hour": ratio(sum(false), sum(hours)),
                "decision_latency_p99_ms": float(np.quantile(latencies, 0.99))
                if latencies
                else math.nan,
            }
        )
    )
    report.metrics.update({"n_episodes": len(answers), "n_false": sum(false)})
    report.metrics["per_kind"] = {
        kind: _kind_figures([a for a in answers if a.episode.kind == kind])
        for kind in sorted({a.episode.kind for a in answers})
    }
    report.metrics["false_by_condition"] = dict(
        Counter(alarm.condition for record in records for alarm in record.false)
    )
    report.metrics["hours_outside"] = rounded(sum(hours))
    _intervals(report, records, hours)


def _kind_figures(answers: Sequence[Answer]) -> dict[str, Any]:
    found = [a for a in answers if a.is_found]
    limits = wilson_interval(len(found), len(answers))
    return {
        "n": len(answers),
        **present(
            {
                "sensitivity": ratio(len(found), len(answers)),
                "lower_bound_90": lower_bound_90(len(found), len(answers)),
                "delay_p50_s": float(np.median([a.delay_s for a in found])) if found else None,
            }
        ),
        "wilson_95": ends(limits),
    }


def _intervals(
    report: ProtocolReport, records: Sequence[EpisodeRecord], hours: Sequence[float]
) -> None:
    patients = [record.patient for record in records]
    rows = np.array(
        [
            [sum(a.is_found for a in r.answers), len(r.answers), len(r.false), h]
            for r, h in zip(records, hours, strict=True)
        ],
        dtype=np.float64,
    )
    _, sums = sum_by_cluster(patients, rows)
    delays = [np.array([a.delay_s for a in r.answers if a.is_found]) for r in records]
    intervals = {
        "sensitivity": cluster_bootstrap(sums[:, :2], lambda s: s[:, 0] / s[:, 1]),
        "false_alarms_per_hour": cluster_bootstrap(sums[:, 2:], per_hour_of),
        "delay_p50_s": cluster_bootstrap_of_values(delays, lambda x: float(np.median(x))),
        "delay_p95_s": cluster_bootstrap_of_values(delays, lambda x: float(np.quantile(x, 0.95))),
    }
    for name, interval in intervals.items():
        if (limits := ends(interval)) is not None:
            report.confidence[name] = limits


def _confusion(records: Sequence[EpisodeRecord]) -> Confusion:
    answers = [a for record in records for a in record.answers]
    kinds = tuple(sorted({a.episode.kind for a in answers}))

    def row(kind: str) -> tuple[int, ...]:
        of_kind = [a for a in answers if a.episode.kind == kind]
        late = sum(not a.is_found and not math.isnan(a.delay_s) for a in of_kind)
        in_time = sum(a.is_found for a in of_kind)
        return in_time, late, len(of_kind) - in_time - late

    return Confusion(
        truths=kinds, decisions=("in time", "late", "never"), counts=tuple(map(row, kinds))
    )


def _worst(records: Sequence[EpisodeRecord]) -> list[Strip]:
    strips: list[Strip] = []
    for record in records:
        marks = (
            ("episode", tuple(e.start_s for e in record.episodes)),
            ("alert", tuple(alarm.start_s for alarm in record.alarms)),
        )
        for found in record.answers:
            if not found.is_found:
                start_s = max(found.episode.start_s - 4.0, 0.0)
                strips.append(
                    Strip(
                        record=record.path,
                        start_s=start_s,
                        end_s=start_s + 18.0,
                        caption=f"{found.episode.record}: {found.episode.kind} of "
                        f"{found.episode.end_s - found.episode.start_s:.0f} s not alarmed in time",
                        marks=marks,
                    )
                )
    for record in records:
        strips += [
            Strip(
                record=record.path,
                start_s=max(alarm.start_s - 10.0, 0.0),
                end_s=alarm.start_s + 4.0,
                caption=f"{record.path.name}: false {alarm.condition}",
                marks=(("alert", (alarm.start_s,)),),
            )
            for alarm in record.false[:2]
        ]
    return strips[:10]
