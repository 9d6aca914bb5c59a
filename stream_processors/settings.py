"""What the stream tier is told: ``STREAM_*`` variables, read once."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from wardstream.contracts.errors import ConfigurationError

PREFIX: Final = "STREAM_"

_Text = Annotated[str, Field(min_length=1)]


class StreamSettings(BaseSettings):
    """All that bridge, worker and record commands need; each uses its part.

    Attributes
    ----------
    database_url : SecretStr or None
        ``postgresql://user:password@host:port/name`` (worker, ``records list``).
    mqtt_url : SecretStr or None
        ``mqtt[s]://user:password@host:port`` (bridge, worker).
    kafka_bootstrap : str
        ``host:port[,host:port]``.
    state_dir : Path
        The site's secret for pseudonyms, and Faust's folder.
    instance : str
        Tells several bridges or workers apart; part of MQTT client ids.
    group : str
        Kafka consumer group of the workers.
    partitions, replication : int
        Of Kafka topics that have to be made. All bridges and workers of a site agree on it.
    linger_ms : int
        How long the bridge waits for more frames to batch.
    batch_messages : int
        Most MQTT messages of one turn of the bridge.
    take_records, take_within_ms : int
        Most Kafka records of one database transaction, and how long the first one waits.
    keep_frames_days, keep_fine_rollups_days, keep_rollups_days, keep_letters_days : int
        Retention of frames, of roll-ups of 10 s, of longer ones, of dead letters.
    compress_after_days : int
        Age at which frames are compressed, where the server's licence has compression.
    rollup_after_s : int
        How long after its last mark a minute is rolled up; above 30.
    grace_s : float
        Longest orderly end before the process kills itself.
    metrics_port : int
        Prometheus on loopback; 0 is off.
    site_secret : SecretStr or None
        Key of patient pseudonyms; drawn into `state_dir` if not given.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    kafka_bootstrap: _Text
    state_dir: Path
    database_url: SecretStr | None = None
    mqtt_url: SecretStr | None = None
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = socket.gethostname()
    group: _Text = "wardstream"
    partitions: Annotated[int, Field(ge=1, le=256)] = 4
    replication: Annotated[int, Field(ge=1, le=5)] = 1
    linger_ms: Annotated[int, Field(ge=0, le=1000)] = 20
    batch_messages: Annotated[int, Field(ge=1, le=20_000)] = 2000
    take_records: Annotated[int, Field(ge=1, le=4096)] = 128
    take_within_ms: Annotated[int, Field(ge=5, le=1000)] = 20
    keep_frames_days: Annotated[int, Field(ge=1)] = 30
    keep_fine_rollups_days: Annotated[int, Field(ge=1)] = 90
    keep_rollups_days: Annotated[int, Field(ge=1)] = 400
    keep_letters_days: Annotated[int, Field(ge=1)] = 90
    compress_after_days: Annotated[int, Field(ge=1)] = 7
    rollup_after_s: Annotated[int, Field(gt=30)] = 60
    grace_s: Annotated[float, Field(gt=0, le=60)] = 8.0
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    site_secret: Annotated[SecretStr, Field(min_length=16)] | None = None

    def require_database_url(self) -> str:
        """The database's address.

        Raises
        ------
        ConfigurationError
            It is not set.
        """
        return _required(self.database_url, "STREAM_DATABASE_URL")

    def require_mqtt_url(self) -> str:
        """The broker's address.

        Raises
        ------
        ConfigurationError
            It is not set.
        """
        return _required(self.mqtt_url, "STREAM_MQTT_URL")


def _required(value: SecretStr | None, variable: str) -> str:
    if value is None:
        raise ConfigurationError([f"{variable} is needed for this command"])
    return value.get_secret_value()


def read_settings(environment: Mapping[str, str] | None = None) -> StreamSettings:
    """The settings of this process.

    Raises
    ------
    ConfigurationError
        Every variable that is wrong, missing or misspelt.
    """
    variables = os.environ if environment is None else environment
    known = {f"{PREFIX}{name.upper()}" for name in StreamSettings.model_fields}
    problems = [
        f"{name} is not a setting (known: {', '.join(sorted(known))})"
        for name in variables
        if name.upper().startswith(PREFIX) and name.upper() not in known
    ]
    settings: StreamSettings | None = None
    try:
        settings = StreamSettings()  # pyright: ignore[reportCallIssue]  # from the environment
    except ValidationError as error:
        problems += [
            f"{PREFIX}{'__'.join(str(part) for part in issue['loc']).upper()}: {issue['msg']}"
            for issue in error.errors(include_input=False, include_url=False)
        ]
    if problems or settings is None:
        raise ConfigurationError(problems)
    return settings
