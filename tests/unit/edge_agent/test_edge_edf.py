"""EDF files give what was written into them, and say what they cannot give."""

from pathlib import Path

import edfio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.adapters.edf_record import EdfReader
from edge_agent.core.ports import UnreadableSourceError
from wardstream.contracts.units import Unit


def signal(
    label: str, unit: str, rate_hz: float, values: np.ndarray, physical: tuple[float, float]
) -> edfio.EdfSignal:
    return edfio.EdfSignal(
        values, rate_hz, label=label, physical_dimension=unit, physical_range=physical
    )


def sine(rate_hz: int, seconds: int, amplitude: float) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * 1.3 * np.arange(rate_hz * seconds) / rate_hz)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    path = tmp_path / "mixed.edf"
    edfio.Edf(
        [
            signal("ECG II", "uV", 250, sine(250, 20, 900), (-2000, 2000)),
            signal("PLETH", "mV", 125, sine(125, 20, 1), (-2, 2)),
            signal("SaO2", "%", 1, np.arange(78.0, 98.0), (0, 100)),
            signal("EEG Fpz-Cz", "uV", 100, sine(100, 20, 50), (-200, 200)),
            signal("ABP", "furlong", 125, sine(125, 20, 50), (-200, 200)),
        ]
    ).write(path)
    return path


def test_curves_come_in_the_unit_of_their_code_at_their_own_rate(mixed: Path) -> None:
    reader = EdfReader(mixed)
    assert (reader.frame_rate_hz, reader.n_frames) == (125, 2500)
    ecg, pleth = reader.groups
    assert (ecg.codes, ecg.unit, ecg.samples_per_frame) == (
        ("MDC_ECG_ELEC_POTL_II",),
        Unit.MILLIVOLT,
        2,
    )
    assert pleth.unit is Unit.ARBITRARY
    blocks = [reader.read(a, min(a + 333, 2500)) for a in range(0, 2500, 333)]
    joined = np.concatenate([b.samples[0][0] for b in blocks])
    assert np.allclose(joined, sine(250, 20, 0.9), atol=1e-4)


def test_once_a_second_is_a_numeric_and_each_value_comes_once(mixed: Path) -> None:
    reader = EdfReader(mixed)
    numerics = [n for a in range(0, 2500, 5) for n in reader.read(a, a + 5).numerics]
    assert [round(n.value) for n in numerics] == list(range(78, 98))
    assert [n.frame for n in numerics] == [125 * i for i in range(20)]


def test_what_is_not_known_is_quarantined_by_name(mixed: Path) -> None:
    quarantined = {q.channel: q.reason for q in EdfReader(mixed).quarantined}
    assert set(quarantined) == {"EEG Fpz-Cz", "ABP"}
    assert "furlong" in quarantined["ABP"]


def test_a_file_of_nothing_known_says_so(tmp_path: Path) -> None:
    path = tmp_path / "eeg.edf"
    edfio.Edf([signal("EEG Cz", "uV", 100, sine(100, 2, 50), (-100, 100))]).write(path)
    with pytest.raises(UnreadableSourceError, match="EEG Cz"):
        EdfReader(path)


def test_a_file_cut_short_gives_what_is_whole(
    mixed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = mixed.read_bytes()
    mixed.write_bytes(whole[: len(whole) // 2])
    reader = EdfReader(mixed)
    assert reader.n_frames is not None
    assert 0 < reader.n_frames < 2500
    assert "truncated" in caplog.text
    assert reader.read(reader.n_frames - 5, reader.n_frames).samples[0].shape == (1, 10)


def test_missing_and_garbage_files_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSourceError, match="no readable EDF"):
        EdfReader(tmp_path / "nothing.edf")
    (tmp_path / "garbage.edf").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(UnreadableSourceError, match="no readable EDF"):
        EdfReader(tmp_path / "garbage.edf")


@pytest.mark.data
def test_a_real_record_saved_as_edf_is_the_same_curve(recordings: Path, tmp_path: Path) -> None:
    from edge_agent.adapters.wfdb_record import WfdbReader

    source = WfdbReader(recordings / "bidmc" / "bidmc01")
    block = source.read(0, 125 * 16)
    channels = [
        (code, group.unit, row)
        for group, part in zip(source.groups, block.samples, strict=True)
        for code, row in zip(group.codes, part, strict=True)
    ]
    names = {"MDC_ECG_ELEC_POTL_II": ("ECG II", "mV"), "MDC_PULS_OXIM_PLETH": ("PLETH", "NU")}
    path = tmp_path / "bidmc01.edf"
    edfio.Edf(
        [
            signal(*names[code], 125, row.astype(float), (-4, 4))
            for code, _, row in channels
            if code in names
        ]
    ).write(path)
    reader = EdfReader(path)
    again = reader.read(0, 125 * 16)
    for (code, _, row), found in zip(
        [c for c in channels if c[0] in names], again.samples, strict=True
    ):
        assert np.allclose(found[0], row, atol=1e-3), code


HOSTILE = Path(__file__).resolve().parents[2] / "data" / "hostile" / "edf"


@pytest.mark.parametrize("case", sorted(HOSTILE.glob("*.edf")), ids=lambda path: path.stem)
def test_the_hostile_corpus_is_refused_or_quarantined_with_its_reason(case: Path) -> None:
    expected = case.with_suffix(".txt").read_text().strip()
    try:
        reader = EdfReader(case)
        found = "; ".join(f"{q.channel}: {q.reason}" for q in reader.quarantined)
        n_frames = reader.n_frames or 0
        reader.read(0, n_frames)
    except UnreadableSourceError as error:
        found = str(error)
    assert expected in found


def test_the_hostile_corpus_is_there() -> None:
    assert len(list(HOSTILE.glob("*.edf"))) >= 8


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_mutated_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("edf")
    path = folder / "mutated.edf"
    edfio.Edf(
        [
            signal("ECG II", "uV", 50, sine(50, 2, 900), (-2000, 2000)),
            signal("SaO2", "%", 1, np.array([97.0, 96.0]), (0, 100)),
        ]
    ).write(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, min(len(content) - 1, 800)))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(100, len(content)))]))
    try:
        reader = EdfReader(path)
        n_frames = reader.n_frames or 0
        block = reader.read(0, min(n_frames, 5000))
    except UnreadableSourceError as error:
        told = str(error)
    else:
        told = reader.description
        assert len(block.samples) == len(reader.groups)
    assert told
    path.unlink()
