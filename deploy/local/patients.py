"""A record for each bed's patient: a synthetic FHIR bundle on disk, else one made here."""

import json
import random
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from wardstream.contracts.errors import ConfigurationError

_NAMESPACE = UUID("a6f7f8a4-3b60-5c35-9f0c-9d1f5a1c8e77")
_SNOMED = "http://snomed.info/sct"
_LOINC = "http://loinc.org"

# Code, words: common comorbidities of intensive-care patients.
_PROBLEMS = (
    ("38341003", "Hypertensive disorder"),
    ("44054006", "Diabetes mellitus type 2"),
    ("13645005", "Chronic obstructive lung disease"),
    ("84114007", "Heart failure"),
    ("49436004", "Atrial fibrillation"),
    ("91302008", "Sepsis"),
    ("233604007", "Pneumonia"),
    ("709044004", "Chronic kidney disease"),
)


def bundle_for(bed_number: int, data: Path | None, folder: Path, now: datetime) -> Path:
    """A FHIR R4 transaction bundle for bed `bed_number`, as a file in `folder`.

    From ``synthea_fhir_r4/bundles.tar.xz`` of `data` where that is (its adults, by name of the
    file), else made here. The same bed gets the same patient each time.

    Raises
    ------
    ConfigurationError
        The archive holds no adult.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = sorted(folder.glob(f"bed-{bed_number:02}-*.json"))
    if known:
        return known[0]
    archive = None if data is None else data / "synthea_fhir_r4" / "bundles.tar.xz"
    if archive is not None and archive.is_file():
        return _extract(archive, bed_number, folder, now)
    target = folder / f"bed-{bed_number:02}-generated.json"
    target.write_text(json.dumps(generate_bundle(bed_number, now), indent=1))
    return target


def _extract(archive: Path, bed_number: int, folder: Path, now: datetime) -> Path:
    with tarfile.open(archive) as tar:
        # In one pass: a compressed archive cannot be read back and forth.
        contents = {m.name: _content(tar, m) for m in tar if m.isfile()}
    adults = [contents[name] for name in sorted(contents) if _is_adult(contents[name], now)]
    if not adults:
        raise ConfigurationError([f"{archive} holds no record of an adult"])
    # The file's own name holds a (synthetic) person's name: not into ours.
    target = folder / f"bed-{bed_number:02}-synthea.json"
    target.write_bytes(adults[(bed_number - 1) % len(adults)])
    return target


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    return b"" if stream is None else stream.read()


def _is_adult(content: bytes, now: datetime) -> bool:
    # The rules and the recordings are adults'.
    resources = [entry["resource"] for entry in json.loads(content)["entry"]]
    births = [r["birthDate"] for r in resources if r["resourceType"] == "Patient"]
    return any(now.year - int(birth[:4]) > 18 for birth in births)


def generate_bundle(seed: int, now: datetime) -> dict[str, Any]:
    """A FHIR R4 transaction bundle of an invented patient.

    Patient, an intensive-care Encounter under way, two or three active Conditions, and
    Observations of this hour: temperature, blood pressure, oxygen saturation, consciousness.
    """
    draw = random.Random(seed)  # noqa: S311 - an invented patient, the same each time
    ids = {name: str(uuid5(_NAMESPACE, f"{seed}/{name}")) for name in ("patient", "encounter")}
    patient = {
        "resourceType": "Patient",
        "id": ids["patient"],
        "gender": draw.choice(["male", "female"]),
        "birthDate": f"{now.year - draw.randint(38, 87)}-{draw.randint(1, 12):02}-15",
    }
    subject = {"reference": f"urn:uuid:{ids['patient']}"}
    admitted = now - timedelta(hours=draw.randint(6, 90))
    encounter: dict[str, Any] = {
        "resourceType": "Encounter",
        "id": ids["encounter"],
        "status": "in-progress",
        "class": {
            "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
            "code": "IMP",
            "display": "inpatient encounter",
        },
        "subject": subject,
        "period": {"start": _instant(admitted)},
    }
    context = {"subject": subject, "encounter": {"reference": f"urn:uuid:{ids['encounter']}"}}
    conditions = [
        _condition(problem, context, admitted - timedelta(days=draw.randint(0, 4000)))
        for problem in draw.sample(_PROBLEMS, draw.randint(2, 3))
    ]
    charted = now - timedelta(minutes=draw.randint(5, 50))
    resources = [patient, encounter, *conditions, *_observations(draw, context, charted)]
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [_entry(resource, f"{seed}/{i}") for i, resource in enumerate(resources)],
    }


def _entry(resource: dict[str, Any], name: str) -> dict[str, Any]:
    resource_id = resource.setdefault("id", str(uuid5(_NAMESPACE, name)))
    return {
        "fullUrl": f"urn:uuid:{resource_id}",
        "resource": resource,
        "request": {"method": "POST", "url": resource["resourceType"]},
    }


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _condition(
    problem: tuple[str, str], context: dict[str, Any], onset: datetime
) -> dict[str, Any]:
    def status(kind: str, code: str) -> dict[str, Any]:
        system = f"http://terminology.hl7.org/CodeSystem/condition-{kind}"
        return {"coding": [{"system": system, "code": code}]}

    code, words = problem
    return {
        "resourceType": "Condition",
        "clinicalStatus": status("clinical", "active"),
        "verificationStatus": status("ver-status", "confirmed"),
        "code": {"coding": [{"system": _SNOMED, "code": code, "display": words}], "text": words},
        **context,
        "onsetDateTime": _instant(onset),
        "recordedDate": _instant(onset),
    }


def _observations(
    draw: random.Random, context: dict[str, Any], charted: datetime
) -> list[dict[str, Any]]:
    def coded(code: str, words: str) -> dict[str, Any]:
        return {"coding": [{"system": _LOINC, "code": code, "display": words}], "text": words}

    def quantity(value: float, unit: str) -> dict[str, Any]:
        return {
            "value": value,
            "unit": unit,
            "system": "http://unitsofmeasure.org",
            "code": unit,
        }

    def observation(code: dict[str, Any], **value: object) -> dict[str, Any]:
        return {
            "resourceType": "Observation",
            "status": "final",
            "code": code,
            **context,
            "effectiveDateTime": _instant(charted),
            "issued": _instant(charted),
            **value,
        }

    systolic, diastolic = draw.randint(95, 150), draw.randint(55, 85)
    alert = {"coding": [{"system": _SNOMED, "code": "248234008", "display": "Mentally alert"}]}
    return [
        observation(
            coded("8310-5", "Body temperature"),
            valueQuantity=quantity(round(draw.uniform(36.2, 38.6), 1), "Cel"),
        ),
        observation(
            coded("85354-9", "Blood pressure panel"),
            component=[
                {
                    "code": coded("8480-6", "Systolic blood pressure"),
                    "valueQuantity": quantity(systolic, "mm[Hg]"),
                },
                {
                    "code": coded("8462-4", "Diastolic blood pressure"),
                    "valueQuantity": quantity(diastolic, "mm[Hg]"),
                },
            ],
        ),
        observation(
            coded("2708-6", "Oxygen saturation in Arterial blood"),
            valueQuantity=quantity(draw.randint(92, 99), "%"),
        ),
        observation(coded("80288-4", "Level of consciousness"), valueCodeableConcept=alert),
    ]
