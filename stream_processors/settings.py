"""What the stream tier is told: ``STREAM_*`` variables, read once."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import available_timezones

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from wardstream.contracts.errors import ConfigurationError

PREFIX: Final = "STREAM_"

_Text = Annotated[str, Field(min_length=1)]
_SHIPPED_SCORE: Final = (
    Path(__file__).resolve().parents[1] / "models" / "artifacts" / "deterioration"
)


class GatewaySettings(BaseModel):
    """All that the record gateway needs besides: ``STREAM_GATEWAY__*`` variables.

    Attributes
    ----------
    hl7_host, hl7_port : str, int
        Where HL7 v2 over MLLP is listened for; port 0 is off. Beyond loopback only with TLS.
    hl7_certificate, hl7_key, hl7_authority : Path or None
        TLS: own certificate and key; with an authority, senders must have a certificate of it.
    hl7_time_zone : str or None
        IANA name of the zone of HL7 times that state none, for example ``Asia/Shanghai``. Without
        it such times are refused: a zone is never guessed.
    hl7_processing_id : str
        MSH-11 that is taken: P (production), T (training) or D (debugging).
    hl7_idle_s : float
        Silence after which a sender's connection is closed.
    hl7_max_bytes : int
        Longest message.
    hl7_open_end : bool
        Take messages whose last segment is not ended by CR; one that was cut is then not noticed.
    trust_beds : bool
        Take observations that name only a bed, as of who was in it as far as was known then.
    bed_template : str
        How a bed id is made of PV1-3.
    bed_names : dict of str to str
        JSON: ``{"ICU^3^B": "bed-07"}``, for places that the template does not fit.
    authorities : dict of str to str
        JSON: assigning authority of HL7 identifiers -> FHIR identifier system, so that both name
        the same patient.
    fhir_port : int
        ``POST /fhir`` on loopback; 0 is off.
    fhir_token : SecretStr or None
        Bearer token of those who push.
    fhir_poll_url, fhir_poll_token, fhir_poll_s
        FHIR server to be polled, its token, and the pause between two rounds.
    answer_within_s : float
        How long a sender waits while database or Kafka is away, before its connection is closed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hl7_host: _Text = "127.0.0.1"
    hl7_port: Annotated[int, Field(ge=0, le=65535)] = 2575
    hl7_certificate: Path | None = None
    hl7_key: Path | None = None
    hl7_authority: Path | None = None
    hl7_time_zone: str | None = None
    hl7_processing_id: Annotated[str, Field(pattern="^[PTD]$")] = "P"
    hl7_idle_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    hl7_max_bytes: Annotated[int, Field(ge=1_000, le=64 << 20)] = 1 << 20
    hl7_open_end: bool = False
    trust_beds: bool = False
    bed_template: _Text = "{point_of_care}-{room}-{bed}"
    bed_names: dict[str, str] = {}
    authorities: dict[str, str] = {}
    fhir_port: Annotated[int, Field(ge=0, le=65535)] = 0
    fhir_token: Annotated[SecretStr, Field(min_length=16)] | None = None
    fhir_poll_url: str | None = None
    fhir_poll_token: SecretStr | None = None
    fhir_poll_s: Annotated[float, Field(ge=1, le=86_400)] = 30.0
    answer_within_s: Annotated[float, Field(gt=0, le=600)] = 30.0

    @field_validator("hl7_time_zone")
    @classmethod
    def _zone_is_known(cls, name: str | None) -> str | None:
        if name is not None and name not in available_timezones():
            raise ValueError(f"{name!r} is no IANA time zone (such as Asia/Shanghai)")
        return name

    @field_validator("bed_template")
    @classmethod
    def _template_is_known(cls, template: str) -> str:
        try:
            template.format(point_of_care="", room="", bed="", facility="")
        except (KeyError, IndexError, ValueError) as error:
            known = "{point_of_care}, {room}, {bed}, {facility}"
            raise ValueError(f"a bed template is made of {known}") from error
        if "{bed}" not in template:
            raise ValueError("a bed template names the {bed}")
        return template

    @model_validator(mode="after")
    def _is_safe(self) -> "GatewaySettings":
        if (self.hl7_certificate is None) != (self.hl7_key is None):
            raise ValueError("hl7_certificate and hl7_key are given together or not at all")
        if self.hl7_authority is not None and self.hl7_certificate is None:
            raise ValueError("hl7_authority asks for TLS: give hl7_certificate and hl7_key too")
        loopback = self.hl7_host in ("127.0.0.1", "::1", "localhost")
        if self.hl7_port and not loopback and self.hl7_certificate is None:
            raise ValueError("beyond loopback HL7 is taken over TLS only: give hl7_certificate")
        if self.fhir_port and self.fhir_token is None:
            raise ValueError("fhir_port needs fhir_token (16 characters at least)")
        return self


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
    deterioration_bundle : Path
        Folder of the deterioration score; where it is not there, none is said.
    grace_s : float
        Longest orderly end before the process kills itself.
    metrics_port : int
        Prometheus on loopback; 0 is off.
    site_secret : SecretStr or None
        Key of patient pseudonyms; drawn into `state_dir` if not given.
    gateway : GatewaySettings
        Of the record gateway alone.
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
    deterioration_bundle: Path = _SHIPPED_SCORE
    grace_s: Annotated[float, Field(gt=0, le=60)] = 8.0
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    site_secret: Annotated[SecretStr, Field(min_length=16)] | None = None
    gateway: GatewaySettings = GatewaySettings()

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
    fields = set(StreamSettings.model_fields) - {"gateway"}
    fields |= {f"gateway__{name}" for name in GatewaySettings.model_fields}
    known = {f"{PREFIX}{name.upper()}" for name in fields}
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
