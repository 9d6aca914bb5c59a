"""What the sources deliver, in units that were stated."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from edge_agent.adapters.scenario import Crisis, Event, Scenario, read_scenario
from edge_agent.adapters.simulator import SimulatedPatient
from edge_agent.adapters.wfdb_names import map_channel
from edge_agent.adapters.wfdb_record import WfdbReader
from edge_agent.core.ports import UnreadableSourceError
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.units import Unit

MULTI = "mimic_multisegment_samples/s25047/s25047-2704-05-04-10-44"


def crisis(kind: Crisis, at_s: float = 10, for_s: float = 12) -> SimulatedPatient:
    return SimulatedPatient(Scenario(events=(Event(crisis=kind, at_s=at_s, for_s=for_s),)), seed=3)


def seconds(patient: SimulatedPatient, n: int) -> list[np.ndarray]:
    blocks = [patient.read(125 * i, 125 * (i + 1)) for i in range(n)]
    return [np.concatenate([b.samples[g] for b in blocks], axis=1) for g in range(3)]


def test_the_same_seed_is_the_same_patient_and_another_seed_another() -> None:
    one, same = (seconds(SimulatedPatient(Scenario(), 1), 5) for _ in range(2))
    other = seconds(SimulatedPatient(Scenario(), 2), 5)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_at_rest_the_curves_are_a_patients() -> None:
    ecg, pressure, slow = seconds(SimulatedPatient(Scenario(), 1), 30)
    assert 0.8 < ecg[0].max() < 1.6
    assert 105 < np.percentile(pressure, 99) < 140
    assert 60 < np.percentile(pressure, 1) < 85
    peaks = np.flatnonzero(
        (ecg[0, 1:-1] > 0.7) & (np.diff(ecg[0])[:-1] > 0) & (np.diff(ecg[0])[1:] <= 0)
    )
    assert 30 * 74 / 60 * 0.9 < len(peaks) < 30 * 74 / 60 * 1.1
    assert slow.shape == (2, 3750)


def test_the_pulse_stops_with_the_heart() -> None:
    ecg, pressure, slow = seconds(crisis(Crisis.ASYSTOLE), 22)
    still = slice(250 * 13, 250 * 21)
    assert np.ptp(ecg[0, still]) < 0.3
    assert pressure[0, 125 * 21] < 30
    assert np.ptp(slow[0, 125 * 13 : 125 * 21]) < 0.15


def test_fibrillation_moves_the_ecg_but_no_blood() -> None:
    ecg, pressure, _ = seconds(crisis(Crisis.VENTRICULAR_FIBRILLATION), 22)
    assert 0.15 < np.std(ecg[0, 250 * 12 : 250 * 21]) < 0.6
    assert pressure[0, 125 * 21] < 30


def test_a_loose_electrode_leaves_the_pulse_alone() -> None:
    ecg, _, slow = seconds(crisis(Crisis.LEAD_OFF), 20)
    assert np.isnan(ecg[:, 250 * 11 : 250 * 19]).all()
    assert np.isfinite(slow).all()


def test_silence_is_silence_on_every_channel() -> None:
    parts = seconds(crisis(Crisis.NO_DATA), 20)
    assert all(
        np.isnan(part[:, part.shape[1] * 11 // 20 : part.shape[1] * 19 // 20]).all()
        for part in parts
    )


def test_saturation_falls_slowly_and_is_unknown_without_a_pulse() -> None:
    patient = crisis(Crisis.DESATURATION, at_s=5, for_s=60)
    values = [
        n.value
        for i in range(60)
        for n in patient.read(125 * i, 125 * (i + 1)).numerics
        if n.code == "MDC_PULS_OXIM_SAT_O2"
    ]
    assert values[4] > 95
    assert values[8] > 88
    assert values[-1] < 84


def test_a_scenario_that_says_something_unknown_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"events": [{"crisis": "hiccups", "at_s": 1, "for_s": 2}]}))
    with pytest.raises(UnreadableSourceError, match="hiccups"):
        read_scenario(path)


@pytest.mark.parametrize(
    ("name", "unit", "code", "carried"),
    [
        ("MLII", "mV", "MDC_ECG_ELEC_POTL_II", Unit.MILLIVOLT),
        ("V", "uV", "MDC_ECG_ELEC_POTL_V", Unit.MILLIVOLT),
        ("PLETH", "NU", "MDC_PULS_OXIM_PLETH", Unit.ARBITRARY),
        ("ABP", "mmHg", "MDC_PRESS_BLD_ART", Unit.MMHG),
        ("RESP", "pm", "MDC_RESP", Unit.ARBITRARY),
    ],
)
def test_known_names_and_spellings_are_mapped(
    name: str, unit: str, code: str, carried: Unit
) -> None:
    mapping = map_channel(name, unit)
    assert (mapping.code, mapping.unit) == (code, carried)


def test_microvolts_become_millivolts() -> None:
    assert map_channel("II", "uV").scale == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("name", "unit"),
    [("noise1", "mV"), ("II", "furlongs"), ("ABP", "mV"), ("ii", "mV"), ("ABP", "NU")],
)
def test_anything_else_is_quarantined_not_guessed(name: str, unit: str) -> None:
    with pytest.raises(OutOfRangeError):
        map_channel(name, unit)


@pytest.mark.data
@pytest.mark.parametrize(
    ("record", "format"),
    [
        ("cudb/cu01", "212"),
        ("cinc2015/v101l", "FLAC"),
        ("mimic_multisegment_samples/03700181", "212x4"),
    ],
)
def test_blocks_hold_what_wfdb_reads_whole(recordings: Path, record: str, format: str) -> None:  # noqa: A002
    import wfdb

    reader = WfdbReader(recordings / record)
    n = min(reader.n_frames or 0, 8000)
    blocks = [reader.read(a, min(a + 1000, n)) for a in range(0, n, 1000)]
    whole = wfdb.rdrecord(str(recordings / record), sampto=n, smooth_frames=False)
    ours = np.concatenate([b.samples[0][0] for b in blocks])
    assert np.allclose(ours, whole.e_p_signal[0][: len(ours)], atol=1e-5, equal_nan=True), format


@pytest.mark.data
def test_segments_gaps_and_lead_changes_are_kept(recordings: Path) -> None:
    reader = WfdbReader(recordings / MULTI)
    assert [g.unit for g in reader.groups] == [Unit.MILLIVOLT, Unit.MMHG]
    gap = reader.read(1000, 2000)
    assert all(np.isnan(part).all() for part in gap.samples)
    middle = reader.read(271_620, 272_620)
    assert np.isfinite(middle.samples[0]).all()
    assert np.isnan(middle.samples[1]).all(), "no arterial line yet"
    assert np.isfinite(reader.read(540_240, 541_240).samples[1]).all()


@pytest.mark.data
def test_monitor_numerics_come_with_the_curves(recordings: Path) -> None:
    reader = WfdbReader(recordings / "bidmc" / "bidmc06")
    numerics = reader.read(0, 250).numerics
    assert {n.code for n in numerics} >= {"MDC_PULS_OXIM_SAT_O2", "MDC_RESP_RATE"}
    assert [n.value for n in numerics if n.code == "MDC_PULS_OXIM_SAT_O2"] == [99.0, 99.0]


@pytest.mark.data
def test_two_unnamed_leads_keep_two_codes(recordings: Path) -> None:
    (group,) = WfdbReader(recordings / "vfdb" / "418").groups
    assert group.codes == ("MDC_ECG_ELEC_POTL", "MDCX_ECG_ELEC_POTL_2")


@pytest.mark.data
def test_a_recording_of_nothing_known_says_why(recordings: Path) -> None:
    with pytest.raises(UnreadableSourceError, match="noise1"):
        WfdbReader(recordings / "nstdb" / "bw")


def test_a_record_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSourceError, match="no readable WFDB record"):
        WfdbReader(tmp_path / "nothing")


def test_a_header_that_is_no_header_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.hea").write_text("what is this\n")
    with pytest.raises(UnreadableSourceError):
        WfdbReader(tmp_path / "bad")
