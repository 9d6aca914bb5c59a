"""Settings are refused with every problem named, and nothing is guessed."""

import json
from pathlib import Path

import pytest

from edge_agent.adapters.scenario import Crisis, read_scenario
from edge_agent.settings import (
    EdgeSettings,
    load_settings,
    profile_schema,
    read_profile,
)
from edge_agent.settings.sources import SimulatorSettings, WfdbSettings
from wardstream.contracts.errors import ConfigurationError

CONFIGS = Path(__file__).resolve().parents[3] / "firmware_configs"

GOOD = {
    "EDGE_SITE_ID": "s1",
    "EDGE_UNIT_ID": "icu",
    "EDGE_BED_ID": "b1",
    "EDGE_DEVICE_ID": "d1",
    "EDGE_STATE_DIR": "/var/lib/edge",
    "EDGE_GENERATION_MODE": "demo",
    "EDGE_SOURCE__KIND": "simulator",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("EDGE_"):
            monkeypatch.delenv(name)


def load(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> EdgeSettings:
    for name, value in {**GOOD, **changes}.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    return load_settings()


def problems(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(monkeypatch, **changes)
    return "\n".join(caught.value.problems)


def test_without_a_broker_is_a_whole_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    assert settings.mqtt is None
    assert isinstance(settings.source, SimulatorSettings)


def test_every_variable_of_the_stack_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        EDGE_MQTT__URL="mqtt://d1:p%40ss@127.0.0.1:18883",
        EDGE_SOURCE__KIND="wfdb",
        EDGE_SOURCE__RECORD="/data/cu01",
        EDGE_SOURCE__PACE="realtime",
        EDGE_SOURCE__LOOP="true",
        EDGE_SOURCE__START_S="12.5",
        EDGE_SOURCE__PACKET_MS="40",
        EDGE_MODEL__BUNDLE_DIR="/models/rhythm",
        EDGE_MODEL__REPOSITORY_URL="http://127.0.0.1:8000/models",
        EDGE_MODEL__TRUSTED_ROOT="/etc/root.json",
        EDGE_HOOK_COMMAND="/usr/bin/beep --loud",
        EDGE_METRICS_PORT="0",
    )
    assert isinstance(settings.source, WfdbSettings)
    assert settings.source.loop
    assert settings.mqtt is not None
    assert settings.mqtt.address == ("127.0.0.1", 18883, False)
    assert settings.mqtt.credentials == ("d1", "p@ss")


def test_the_password_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hush" not in repr(load(monkeypatch, EDGE_MQTT__URL="mqtt://d1:hush@h:1"))


def test_every_problem_is_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problems(
        monkeypatch,
        EDGE_SITE_ID="Not An Id",
        EDGE_MQTT__URL="http://broker",
        EDGE_SOURCE__PACKET_MS="1",
        EDGE_DEVICE_ID=None,
        EDGE_SOURSE__KIND="wfdb",
    )
    for name in ("EDGE_SITE_ID", "EDGE_MQTT__URL", "EDGE_SOURCE__PACKET_MS", "EDGE_SOURSE__KIND"):
        assert name in found
    assert "EDGE_DEVICE_ID: Field required" in found


def test_a_misspelt_nested_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "EDGE_SOURCE__LOOOP" in problems(monkeypatch, EDGE_SOURCE__LOOOP="true")


def test_a_simulated_patient_is_never_real(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot have generation_mode real" in problems(monkeypatch, EDGE_GENERATION_MODE="real")


def test_a_source_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "EDGE_SOURCE" in problems(monkeypatch, EDGE_SOURCE__KIND=None)


def test_models_come_signed_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problems(monkeypatch, EDGE_MODEL__REPOSITORY_URL="http://h/models")
    assert "belong together" in found


@pytest.mark.parametrize("profile", sorted(CONFIGS.glob("profiles/*.yaml")), ids=lambda p: p.stem)
def test_every_profile_loads_and_gives_way_to_the_environment(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**GOOD, "EDGE_OUTBOX__MAX_AGE_S": "7200"}.items():
        monkeypatch.setenv(name, value)
    stated = read_profile(profile)
    settings = load_settings(stated)
    assert settings.outbox.max_age_s == 7200
    assert settings.outbox.max_bytes == stated["outbox"]["max_bytes"]


def test_the_committed_schema_is_that_of_the_settings() -> None:
    committed = json.loads((CONFIGS / "schema" / "edge_profile.schema.json").read_text())
    assert committed == profile_schema(), "run: python -m edge_agent schema > that file"


@pytest.mark.parametrize("script", sorted(CONFIGS.glob("scenarios/*.yaml")), ids=lambda p: p.stem)
def test_every_scenario_loads(script: Path) -> None:
    assert read_scenario(script).title == script.stem


def test_one_scenario_holds_every_crisis() -> None:
    scenario = read_scenario(CONFIGS / "scenarios" / "crises.yaml")
    assert {event.crisis for event in scenario.events} == set(Crisis)


def test_the_unit_restarts_a_crash_and_leaves_wrong_settings_to_a_person() -> None:
    unit = (CONFIGS / "systemd" / "wardstream-edge@.service").read_text()
    for line in ("Restart=always", "RestartPreventExitStatus=65 78", "ProtectSystem=strict",
                 "NoNewPrivileges=yes", "DynamicUser=yes", "CapabilityBoundingSet="):  # fmt: skip
        assert line in unit.splitlines()
