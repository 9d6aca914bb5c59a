"""Settings: every problem at once, and no misspelt variable."""

import pytest

from stream_processors.settings import read_settings
from wardstream.contracts.errors import ConfigurationError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_KAFKA_BOOTSTRAP", "127.0.0.1:9092")
    monkeypatch.setenv("STREAM_STATE_DIR", "/tmp/state")


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_DATABASE_URL", "postgresql://u:hunter2@h/d")
    settings = read_settings()
    assert "hunter2" not in repr(settings)
    assert settings.require_database_url().endswith("hunter2@h/d")


def test_every_problem_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAM_STATE_DIR")
    monkeypatch.setenv("STREAM_PARTITIONS", "none")
    monkeypatch.setenv("STREAM_DATABSE_URL", "x")
    with pytest.raises(ConfigurationError) as caught:
        read_settings()
    text = "\n".join(caught.value.problems)
    assert all(name in text for name in ("STATE_DIR", "PARTITIONS", "DATABSE"))


def test_what_a_command_needs_is_asked_for_by_name() -> None:
    with pytest.raises(ConfigurationError, match="STREAM_MQTT_URL"):
        read_settings().require_mqtt_url()
