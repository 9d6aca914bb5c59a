"""Protocol ``qrs``: are beats found where experts marked them, clean and in noise?

clinical.md section 4: mitdb, the causal detector fused over the leads, at the record's own
rate; 150 ms and 50 ms; the first 5 s excluded; flutter (between ``[`` and ``]``) is not
counted, as `bxb` does. Noise of nstdb is added as `nst` does, and counted from 5:00 on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.recording import EcgSignal, read_leads, record_paths
from models.evaluation.beats import Matching, ReferenceBeats, read_reference_beats, score_beats
from models.evaluation.harness import EvaluationRequest
from models.evaluation.noise_stress import CLEAN_S, Noise, add_noise, read_noise
from models.evaluation.outcome import Confusion, Outcome, PredictionTable, Strip, ends, present
from models.evaluation.qrs_peers import installed_peers, run_peer
from models.evaluation.report import ProtocolReport
from models.evaluation.statistics import Counts, cluster_bootstrap, f1_of
from models.evaluation.streaming import DetectedBeats, detect_beats, realtime_factor
from wardstream.contracts.errors import ConfigurationError

WIDE_S: Final = 0.150
NARROW_S: Final = 0.050
NOISES: Final = {"em": (24, 18, 12, 6, 0, -6), "ma": (6, 0), "bw": (6, 0)}
"""Signal to noise ratios in dB by kind; electrode motion is what nstdb itself is made of."""

N_NOISE_RECORDS: Final = 8
_NST_RECORDS: Final = ("118", "119")

Found = NDArray[np.int64]
Detector = Callable[[EcgSignal], Found]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BeatRecord:
    """One record with its marks, ready to be detected on."""

    path: Path
    signal: EcgSignal
    reference: ReferenceBeats

    @property
    def name(self) -> str:
        """Name of the record."""
        return self.path.name

    def match(self, found: Found, tolerance_s: float, from_s: float = 0.0) -> Matching:
        """How `found` pairs with the marks; nothing before `from_s` counts."""
        rate_hz = self.signal.sampling_rate_hz
        reference = self.reference
        if from_s > 0:
            before = (0, round(from_s * rate_hz))
            reference = ReferenceBeats(
                samples=reference.samples,
                symbols=reference.symbols,
                excluded=(before, *reference.excluded),
            )
        return score_beats(reference, found, rate_hz, tolerance_s)


def evaluate_qrs(request: EvaluationRequest) -> Outcome:
    """Run the protocol.

    A record without marks is judged and written to the predictions, and is in no figure.

    Raises
    ------
    ConfigurationError
        There is no record.
    """
    everything = record_paths(request.folder("mitdb"))
    if not everything:
        folder = request.data_dir / "mitdb"
        raise ConfigurationError([f"no record (.hea) is in {folder}: --data names its parent"])
    paths = [path for path in everything if path.with_suffix(".atr").exists()]
    unmarked = [path for path in everything if path not in set(paths)]
    detectors = _detectors(peers=request.peers)
    records: list[BeatRecord] = []
    found: list[DetectedBeats] = []
    peers: dict[str, list[Found]] = {name: [] for name in detectors}
    for i, path in enumerate(paths):
        record = read_beat_record(path)
        records.append(record)
        found.append(detect_beats(record.signal))
        for name, detect in detectors.items():
            peers[name].append(detect(record.signal))
        request.progress(i + 1, len(paths), f"mitdb/{path.name}")
    beats = [item.samples for item in found]
    report = ProtocolReport(
        protocol="qrs", model="none", cross_validated=True, n_records=len(records)
    )
    unscored = [(path.name, detect_beats(read_leads(path)).samples) for path in unmarked]
    if not records:
        return Outcome(report=report, predictions=_predictions(unscored), notes=_NOTES)
    report.metrics.update(_figures(records, beats))
    report.metrics["realtime_factor"] = round(realtime_factor(records[0].signal))
    report.metrics.update(_delays(records, found))
    report.confidence.update(_intervals(records, beats))
    report.metrics["peers"] = {name: _figures(records, peers[name]) for name in detectors}
    report.metrics["per_record"] = {
        record.name: _figures([record], [samples])
        for record, samples in zip(records, beats, strict=True)
    }
    if (request.data_dir / "nstdb").is_dir():
        report.metrics["noise"] = _noise(request, records, detectors)
    return Outcome(
        report=report,
        predictions=_predictions(
            [*((r.name, found) for r, found in zip(records, beats, strict=True)), *unscored]
        ),
        confusions={"beats, by record (150 ms)": _confusion(records, beats)},
        worst=tuple(_worst(records, beats)),
        notes=_NOTES,
    )


_NOTES: Final = (
    (
        "Beats are found causally in 40 ms packets, both leads fused; peers see the whole of the "
        "first lead at once. wardstream_first_lead is ours on what the peers see."
    ),
    (
        "Noise: nst's scaling by record and lead, segments of two minutes from 5:00 on, counted "
        "from 5:00 to the end (clean segments included, as nstdb does)."
    ),
    (
        "Nothing of the detector is fitted by fold: its constants were set on these records. "
        "The figures are of the development set."
    ),
)


def _predictions(found: Sequence[tuple[str, Found]]) -> PredictionTable:
    rows = [(name, int(sample)) for name, samples in found for sample in samples]
    return PredictionTable(("record", "sample"), rows)


def read_beat_record(path: Path) -> BeatRecord:
    """The record at `path` (no extension), with all its ECG leads and marks."""
    return BeatRecord(path=path, signal=read_leads(path), reference=read_reference_beats(path))


def _detectors(*, peers: bool) -> dict[str, Detector]:
    found: dict[str, Detector] = {"wardstream_first_lead": _first_lead}
    if peers:
        for name, detect in installed_peers().items():
            found[name] = partial(_peer_beats, detect)
    return found


def _first_lead(signal: EcgSignal) -> Found:
    return _all_leads(EcgSignal(signal.samples_mv[:1], signal.sampling_rate_hz))


def _all_leads(signal: EcgSignal) -> Found:
    # Where only the beats are asked for, longer packets give the same ones sooner.
    return detect_beats(signal, packet_s=1.0).samples


def _peer_beats(detect: Callable[[NDArray[np.float64], float], Found], signal: EcgSignal) -> Found:
    return run_peer(detect, signal.samples_mv[0].astype(np.float64), signal.sampling_rate_hz)


def _figures(
    records: Sequence[BeatRecord], found: Sequence[Found], from_s: float = 0.0
) -> dict[str, float]:
    figures: dict[str, float | None] = {}
    for name, tolerance_s in (("150ms", WIDE_S), ("50ms", NARROW_S)):
        total = sum(_counts(records, found, tolerance_s, from_s), Counts())
        figures[f"se_{name}"] = total.sensitivity
        figures[f"ppv_{name}"] = total.positive_predictivity
        figures[f"f1_{name}"] = total.f1
    return present(figures)


def _counts(
    records: Sequence[BeatRecord], found: Sequence[Found], tolerance_s: float, from_s: float = 0.0
) -> list[Counts]:
    return [
        record.match(samples, tolerance_s, from_s).counts
        for record, samples in zip(records, found, strict=True)
    ]


def _intervals(records: Sequence[BeatRecord], found: Sequence[Found]) -> dict[str, Any]:
    intervals: dict[str, Any] = {}
    for name, tolerance_s in (("f1_150ms", WIDE_S), ("f1_50ms", NARROW_S)):
        rows = np.array([c.row() for c in _counts(records, found, tolerance_s)], dtype=np.float64)
        if (limits := ends(cluster_bootstrap(rows, f1_of))) is not None:
            intervals[name] = limits
    return intervals


def _delays(records: Sequence[BeatRecord], found: Sequence[DetectedBeats]) -> dict[str, float]:
    delays: list[NDArray[np.float64]] = []
    for record, detected in zip(records, found, strict=True):
        pairs = record.match(detected.samples, WIDE_S).pairs
        marked_s = record.reference.samples[pairs[:, 0]] / record.signal.sampling_rate_hz
        delays.append(detected.known_s[pairs[:, 1]] - marked_s)
    pooled = np.concatenate(delays)
    if not len(pooled):
        return {}
    p50, p95 = np.quantile(pooled, [0.5, 0.95])
    return present({"detection_delay_p50_s": float(p50), "detection_delay_p95_s": float(p95)})


def _noise(
    request: EvaluationRequest, records: Sequence[BeatRecord], detectors: Mapping[str, Detector]
) -> dict[str, Any]:
    chosen = noise_records(records)
    ours: dict[str, Detector] = {"wardstream": _all_leads}
    results: dict[str, Any] = {"records": [record.name for record in chosen]}
    levels = [(kind, snr) for kind, ratios in NOISES.items() for snr in ratios]
    for i, (kind, snr_db) in enumerate(levels):
        path = request.data_dir / "nstdb" / kind
        if not path.with_suffix(".hea").exists():
            continue
        mixed = [_mixed(record, read_noise(path), snr_db) for record in chosen]
        results.setdefault(kind, {})[f"{snr_db}_db"] = {
            name: _figures(mixed, [detect(r.signal) for r in mixed], CLEAN_S)
            for name, detect in {**ours, **detectors}.items()
        }
        request.progress(i + 1, len(levels), f"nstdb/{kind} at {snr_db} dB")
    return results


def noise_records(records: Sequence[BeatRecord]) -> list[BeatRecord]:
    """Those to add noise to: what nstdb used where it is there, and others spread evenly."""
    first = [record for record in records if record.name in _NST_RECORDS]
    others = [record for record in records if record.name not in _NST_RECORDS]
    n_more = max(min(N_NOISE_RECORDS - len(first), len(others)), 0)
    spread = np.linspace(0, len(others) - 1, n_more).round().astype(int) if n_more else []
    return first + [others[int(index)] for index in spread]


def _mixed(record: BeatRecord, noise: Noise, snr_db: float) -> BeatRecord:
    rate_hz = record.signal.sampling_rate_hz
    normal = record.reference.samples[np.isin(record.reference.symbols, list("NLRe/"))]
    clean = record.signal.samples_mv.astype(np.float64)
    samples = add_noise(clean, normal, noise, snr_db, rate_hz).astype(np.float32)
    return BeatRecord(
        path=record.path, signal=EcgSignal(samples, rate_hz), reference=record.reference
    )


def _confusion(records: Sequence[BeatRecord], found: Sequence[Found]) -> Confusion:
    counts = _counts(records, found, WIDE_S)
    return Confusion(
        truths=tuple(record.name for record in records),
        decisions=("found", "missed", "extra"),
        counts=tuple((c.tp, c.fn, c.fp) for c in counts),
    )


def _worst(records: Sequence[BeatRecord], found: Sequence[Found]) -> Iterable[Strip]:
    matchings = [r.match(f, WIDE_S) for r, f in zip(records, found, strict=True)]
    order = np.argsort([-(len(m.missed) + len(m.extra)) for m in matchings], kind="stable")
    for index in order[:10]:
        matching = matchings[int(index)]
        if len(matching.missed) + len(matching.extra):
            yield _strip(records[int(index)], found[int(index)], matching)


def _strip(record: BeatRecord, found: Found, matching: Matching) -> Strip:
    rate_hz = record.signal.sampling_rate_hz
    missed_s = record.reference.samples[matching.missed] / rate_hz
    extra_s = found[matching.extra] / rate_hz
    errors = np.sort(np.concatenate([missed_s, extra_s]))
    within = np.searchsorted(errors, errors + 10.0) - np.arange(len(errors))
    start_s = max(float(errors[int(np.argmax(within))]) - 1.0, 0.0)
    return Strip(
        record=record.path,
        start_s=start_s,
        end_s=start_s + 12.0,
        caption=f"{record.name}: {len(missed_s)} missed, {len(extra_s)} extra in the record",
        marks=(
            ("marked", tuple((record.reference.samples / rate_hz).tolist())),
            ("found", tuple((found / rate_hz).tolist())),
            ("missed", tuple(missed_s.tolist())),
            ("extra", tuple(extra_s.tolist())),
        ),
    )
