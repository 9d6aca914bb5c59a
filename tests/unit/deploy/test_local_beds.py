"""What the virtual beds play, and whose record they get."""

import json
import re
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fhir.resources.R4B.bundle import Bundle

from deploy.local.beds import describe, find_data, plan_beds
from deploy.local.patients import bundle_for, generate_bundle
from wardstream.contracts.errors import ConfigurationError

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("cudb", "bidmc", "cinc2015", "mitdb"):
        (folder / name).mkdir(parents=True)
    (folder / "cudb" / "vf_intervals.csv").write_text(
        "record,vf_start_s,vf_end_s\n"
        "cu21,0.000,90.000\n"
        "cu34,118.544,131.320\n"
        "cu01,214.184,508.924\n"
        "cu06,320.112,333.360\ncu06,184.356,308.188\n"
    )
    for record in ("cu01", "cu06", "cu21", "cu34"):
        (folder / "cudb" / f"{record}.hea").touch()
    (folder / "bidmc" / "bidmc01.hea").touch()
    (folder / "bidmc" / "bidmc03.hea").touch()
    (folder / "cinc2015" / "ALARMS.csv").write_text(
        "record,alarm_type,label,seconds,channels\n"
        "v100s,Ventricular_Tachycardia,0,300,II|V\n"
        "a103l,Asystole,0,330,II|V\n"
        "a203l,Asystole,1,330,II|V\n"
    )
    (folder / "mitdb" / "101.hea").touch()
    return folder


def test_the_first_bed_begins_twenty_seconds_before_a_long_fibrillation(data: Path) -> None:
    first, *_, fifth = plan_beds(5, data)
    assert (first.record, first.start_s) == (data / "cudb" / "cu01", 194.184)
    assert (fifth.record, fifth.start_s) == (data / "cudb" / "cu06", 164.356)


def test_four_beds_play_four_kinds_of_recording(data: Path) -> None:
    played = plan_beds(4, data)
    assert [p.record.parent.name for p in played if p.record] == [
        "cudb",
        "bidmc",
        "cinc2015",
        "mitdb",
    ]
    assert describe(played) == "real recordings (bidmc, cinc2015, cudb, mitdb)"
    assert played[2].what == "cinc2015/a203l from 250 s"  # the true alarm, not the false ones


def test_the_agents_environment_names_record_and_start(data: Path) -> None:
    assert plan_beds(1, data)[0].settings() == {
        "EDGE_SOURCE__KIND": "wfdb",
        "EDGE_SOURCE__PACE": "realtime",
        "EDGE_SOURCE__RECORD": str(data / "cudb" / "cu01"),
        "EDGE_SOURCE__LOOP": "true",
        "EDGE_SOURCE__START_S": "194.184",
    }


def test_without_recordings_every_bed_has_a_simulated_patient_of_its_own(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        played = plan_beds(6, data)
        assert [p.kind for p in played] == ["simulator"] * 6
        assert played[0].script is not None
        assert played[0].script.name == "arrest.yaml"
        assert played[0].script.is_file()
        assert len({p.seed for p in played}) == 6
        assert describe(played) == "simulated patients"


def test_a_folder_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        find_data(tmp_path / "absent", {})
    with pytest.raises(ConfigurationError, match="missing"):
        find_data(None, {"WARDSTREAM_DATA": str(tmp_path / "missing")})
    assert find_data(None, {"WARDSTREAM_DATA": str(tmp_path)}) == tmp_path.resolve()


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_made_bundle_is_a_valid_fhir_transaction_whose_references_resolve(seed: int) -> None:
    made = generate_bundle(seed, NOW)
    bundle = Bundle.model_validate(made)
    assert bundle.type == "transaction"
    addresses = {entry["fullUrl"] for entry in made["entry"]}
    references = set(re.findall(r'"reference": "([^"]+)"', json.dumps(made)))
    assert references
    assert references <= addresses
    assert made == generate_bundle(seed, NOW)


def test_a_bed_gets_the_same_patient_each_time_and_another_bed_another(tmp_path: Path) -> None:
    (tmp_path / "synthea_fhir_r4").mkdir()
    with tarfile.open(tmp_path / "synthea_fhir_r4" / "bundles.tar.xz", "w:xz") as tar:
        for name, born in (("Cid_3", 1990), ("Bob_2", 1950), ("Ada_1", 2019)):
            path = tmp_path / f"{name}.json"
            patient = {"resourceType": "Patient", "birthDate": f"{born}-05-06"}
            path.write_text(json.dumps({"name": name, "entry": [{"resource": patient}]}))
            tar.add(path, path.name)
    folder = tmp_path / "patients"
    first = bundle_for(1, tmp_path, folder, NOW)
    assert json.loads(first.read_text())["name"] == "Bob_2"  # Ada is a child
    assert first == bundle_for(1, None, folder, NOW)
    assert "Bob" not in first.name
    assert json.loads(bundle_for(2, tmp_path, folder, NOW).read_text())["name"] == "Cid_3"
    assert json.loads(bundle_for(3, tmp_path, folder, NOW).read_text())["name"] == "Bob_2"
    generated = bundle_for(7, None, folder, NOW)
    assert json.loads(generated.read_text())["type"] == "transaction"
