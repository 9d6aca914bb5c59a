"""What a record may tell the streams, and what stays behind."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from stream_processors.record_gateway.admission import admission
from stream_processors.record_gateway.fhir_bundle import read_bundle
from stream_processors.record_gateway.pseudonym import pseudonym_of, site_secret
from wardstream.contracts.codec import encode
from wardstream.contracts.errors import ConfigurationError, ContractError
from wardstream.contracts.record import Consciousness, RecordEventKind
from wardstream.contracts.timebase import TimestampNs

SNOMED = "http://snomed.info/sct"
PATIENT = {
    "resourceType": "Patient",
    "id": "x1",
    "identifier": [
        {"system": "urn:ssn", "value": "999-12-3456"},
        {"system": "urn:mrn", "value": "MRN-77",
         "type": {"coding": [{"system": "urn:v2-0203", "code": "MR"}]}},
    ],
    "name": [{"family": "Sidorova", "given": ["Anna"]}],
    "address": [{"line": ["5 Elm Street"], "city": "Springfield"}],
    "telecom": [{"system": "phone", "value": "555-0100"}],
    "gender": "female",
    "birthDate": "1948-03-05",
}  # fmt: skip


def bundle(*resources: dict[str, Any]) -> bytes:
    entries = [
        {"resource": r, "request": {"method": "POST", "url": r["resourceType"]}} for r in resources
    ]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


def condition(display: str, status: str = "active", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "clinicalStatus": {"coding": [{"code": status}]},
        "verificationStatus": {"coding": [{"code": more.pop("verification", "confirmed")}]},
        "code": {"coding": [{"system": SNOMED, "code": "1", "display": display}]},
        "subject": {"reference": "Patient/x1"},
        **more,
    }


def observation(loinc: str, when: str, **value: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "subject": {"reference": "Patient/x1"},
        "effectiveDateTime": when,
        **value,
    }


def quantity(value: float, code: str) -> dict[str, Any]:
    return {"valueQuantity": {"value": value, "code": code, "unit": code,
                              "system": "http://unitsofmeasure.org"}}  # fmt: skip


def test_no_name_address_number_or_day_of_birth_gets_out() -> None:
    record = read_bundle(bundle(PATIENT, condition("Hypertension")))
    events = admission(
        record, b"0123456789abcdef", bed_id="bed-1",
        effective_time_ns=TimestampNs(1), recorded_time_ns=TimestampNs(2),
    )  # fmt: skip
    told = b"".join(encode(event) for event in events).decode()
    for secret in ("Sidorova", "Anna", "Elm", "Springfield", "555", "999-12", "MRN-77", "03-05"):
        assert secret not in told
    assert "Hypertension" in told
    assert '"birth_year":1948' in told


def test_an_admission_is_an_assignment_and_what_is_known_under_one_pseudonym() -> None:
    record = read_bundle(bundle(PATIENT))
    assert record.identifier == "MRN-77"
    times = {"effective_time_ns": TimestampNs(1), "recorded_time_ns": TimestampNs(2)}
    first = admission(record, b"0123456789abcdef", bed_id="bed-1", **times)
    again = admission(record, b"0123456789abcdef", bed_id="bed-1", **times)
    assert [event.kind for event in first] == [RecordEventKind.ASSIGNED, RecordEventKind.CONTEXT]
    assert first[0].pseudonym == first[1].pseudonym
    assert [event.event_id for event in first] == [event.event_id for event in again]


def test_only_problems_that_hold_are_told() -> None:
    record = read_bundle(
        bundle(
            PATIENT,
            condition("Asthma", onsetDateTime="2001-02-03T10:00:00+00:00"),
            condition("Flu", "resolved", abatementDateTime="2019-07-13T19:22:39+00:00"),
            condition("Over since nobody knows when", "resolved"),
            condition("Never had it", verification="refuted"),
        )
    )
    problems = {problem.display: problem for problem in record.context.problems}
    assert set(problems) == {"Asthma", "Flu"}
    assert problems["Flu"].abatement_time_ns is not None


def test_charted_values_are_the_latest_set_in_our_units() -> None:
    panel = observation("85354-9", "2026-11-01T08:00:00+00:00")
    panel["component"] = [
        {"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
         **quantity(16.0, "kPa")},
    ]  # fmt: skip
    record = read_bundle(
        bundle(
            PATIENT,
            panel,
            observation("8310-5", "2026-10-01T08:00:00+00:00", **quantity(40.0, "Cel")),
            observation("8310-5", "2026-11-01T09:00:00+00:00", **quantity(98.6, "[degF]")),
            observation(
                "67775-7",
                "2026-11-01T09:30:00+00:00",
                valueCodeableConcept={
                    "coding": [{"system": "http://loinc.org", "code": "LA9340-6"}]
                },
            ),
        )
    )
    context = record.context
    assert context.temperature_celsius == pytest.approx(37.0)
    assert context.systolic_noninvasive_mmhg == pytest.approx(120.0, abs=0.1)
    assert context.consciousness is Consciousness.ALERT
    assert context.supplemental_oxygen is None
    assert context.observed_time_ns == 1_793_520_000 * 10**9  # the oldest of the set


def test_a_unit_is_never_guessed(caplog: pytest.LogCaptureFixture) -> None:
    record = read_bundle(
        bundle(PATIENT, observation("8310-5", "2026-11-01T08:00:00Z", **quantity(310.0, "K")))
    )
    assert record.context.temperature_celsius is None
    assert "not used" in caplog.text


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"\xff", "no FHIR R4 bundle", id="no text"),
        pytest.param(b"[]", "no FHIR R4 bundle", id="no object"),
        pytest.param(bundle(), "0 patients", id="nobody"),
        pytest.param(bundle(PATIENT, PATIENT), "2 patients", id="two people"),
    ],
)
def test_what_is_no_bundle_of_one_patient_is_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        read_bundle(payload)


def test_a_pseudonym_depends_on_the_sites_secret_and_hides_the_identifier() -> None:
    one = pseudonym_of(b"a" * 16, "urn:mrn", "77")
    assert one == pseudonym_of(b"a" * 16, "urn:mrn", "77")
    assert one != pseudonym_of(b"b" * 16, "urn:mrn", "77")
    assert one != pseudonym_of(b"a" * 16, "urn:mrn", "78")
    assert "77" not in one[2:4]


def test_the_sites_secret_is_drawn_once_and_kept_to_its_owner(tmp_path: Path) -> None:
    drawn = site_secret(tmp_path / "state", None)
    assert site_secret(tmp_path / "state", None) == drawn
    mode = stat.S_IMODE((tmp_path / "state" / "site-secret").stat().st_mode)
    assert mode == 0o600
    assert site_secret(tmp_path, "given-by-the-site") == b"given-by-the-site"


def test_a_damaged_secret_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "site-secret").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="damaged"):
        site_secret(tmp_path, None)
