"""Labels: what marks and alarms say of a window, and what they do not."""

from pathlib import Path

import numpy as np
import pytest

from models.datasets.cinc2015 import alarm_span, block_of, cinc2015_recordings
from models.datasets.cudb import cudb_recordings, cudb_spans
from models.datasets.folds import fold_lists, patient_folds
from models.datasets.labels import LabelledSpan, admissible_bits, everything_but
from models.datasets.recording import EcgSignal, Recording, is_ecg, label_digest
from models.datasets.rhythm_marks import mitdb_recordings, vfdb_recordings
from models.datasets.windows import window_ends
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.model_manifest import RHYTHM_CLASSES

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "vfdb").is_dir(), reason="no recordings here")


def test_a_false_alarm_says_only_what_is_not() -> None:
    span = alarm_span("Ventricular_Tachycardia", is_true=False)
    assert span.certain_class is None
    assert set(RHYTHM_CLASSES) - set(span.admissible) == {"vt", "vf"}


def test_an_alarm_says_nothing_after_five_minutes_and_nothing_before_its_last_seconds() -> None:
    for is_true in (True, False):
        span = alarm_span("Asystole", is_true=is_true)
        assert span.end_s == 300.0
        assert span.start_s >= 286.0


def test_a_label_must_admit_a_known_class() -> None:
    with pytest.raises(OutOfRangeError):
        admissible_bits(())
    with pytest.raises(OutOfRangeError):
        admissible_bits(("flutter",))
    assert admissible_bits(everything_but(*RHYTHM_CLASSES[1:])) == 1


def test_windows_lie_wholly_within_their_span_and_its_margin() -> None:
    span = LabelledSpan(start_s=10.0, end_s=20.0, rhythm="VT", admissible=("vt",), margin_s=1.0)
    ends = window_ends(span, 0.5) / 250.0
    assert ends.min() == pytest.approx(15.0)
    assert ends.max() == pytest.approx(19.0)
    assert np.allclose(np.diff(ends), 0.5)


def test_a_span_shorter_than_a_window_gives_none() -> None:
    span = LabelledSpan(start_s=0.0, end_s=3.9, rhythm="VT", admissible=("vt",))
    assert len(window_ends(span, 0.5)) == 0


def test_neighbouring_alarm_records_are_one_patient() -> None:
    assert block_of("v100s") == block_of("v101l") == block_of("v102s")
    assert block_of("v100s") != block_of("v815l")


def test_no_patient_is_in_two_folds_and_the_order_of_patients_does_not_matter() -> None:
    generator = np.random.default_rng(1)
    counts = {f"p{i}": generator.integers(0, 9, 7).astype(float) for i in range(40)}
    folds = patient_folds(counts, 5, seed=3)
    assert folds == patient_folds(dict(reversed(counts.items())), 5, seed=3)
    lists = fold_lists(folds)
    assert sorted(patient for part in lists for patient in part) == sorted(counts)


def test_every_fold_gets_its_share_of_a_rare_class() -> None:
    counts = {f"p{i}": np.array([100.0, 10.0 if i < 5 else 0.0]) for i in range(50)}
    folds = patient_folds(counts, 5, seed=0)
    assert sorted(folds[f"p{i}"] for i in range(5)) == [0, 1, 2, 3, 4]


def test_the_digest_of_the_labels_changes_with_a_label_and_not_with_the_order() -> None:
    def recording(name: str, rhythm: str) -> Recording:
        span = LabelledSpan(start_s=0, end_s=9, rhythm=rhythm, admissible=("vt",))
        empty = EcgSignal(np.zeros((1, 0), np.float32), 250.0)
        return Recording(
            dataset="d", record=name, patient_id=name, spans=(span,), read=lambda: empty
        )

    a, b = recording("a", "VT"), recording("b", "VT")
    assert label_digest([a, b]) == label_digest([b, a])
    assert label_digest([a, b]) != label_digest([a, recording("b", "VFL")])


def test_only_ecg_channels_are_read() -> None:
    assert all(map(is_ecg, ["II", "V", "MCL", "ECG1", "MLII", "V5", "ECG", "aVR"]))
    assert not any(map(is_ecg, ["PLETH", "ABP", "RESP", "CVP", "ART"]))


@needs_data
def test_fibrillation_of_cudb_agrees_with_its_table() -> None:
    spans = [s for s in cudb_spans(DATA / "cudb" / "cu16") if s.rhythm == "VF"]
    found = [(round(s.start_s, 2), round(s.end_s, 2)) for s in spans]
    assert found == [(254.82, 350.44), (465.40, 481.55)]


@needs_data
def test_beats_near_fibrillation_or_noise_are_not_called_sinus() -> None:
    for recording in cudb_recordings(DATA / "cudb"):
        fibrillation = [s for s in recording.spans if s.rhythm == "VF"]
        for span in recording.spans:
            if span.rhythm != "VF":
                assert all(span.end_s <= f.start_s or span.start_s >= f.end_s for f in fibrillation)


@needs_data
def test_rhythm_spans_cover_vfdb_without_overlap() -> None:
    for recording in vfdb_recordings(DATA / "vfdb"):
        for before, after in zip(recording.spans, recording.spans[1:], strict=False):
            assert before.end_s <= after.start_s
        assert recording.patient_id == f"vfdb/{recording.record}"


@needs_data
def test_paced_records_of_mitdb_are_paced() -> None:
    by_name = {r.record: r for r in mitdb_recordings(DATA / "mitdb")}
    for name in ("102", "104", "107"):
        assert "paced" in {span.certain_class for span in by_name[name].spans}


@needs_data
def test_alarm_records_are_never_read_past_the_alarm() -> None:
    recording = next(r for r in cinc2015_recordings(DATA / "cinc2015") if r.record == "v101l")
    signal = recording.read()
    assert signal.samples_mv.shape == (2, 75000)
