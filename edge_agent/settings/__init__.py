"""All an agent needs to know, from ``EDGE_*`` variables and, under them, a device profile."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from edge_agent.settings.platform import PlatformSettings
from edge_agent.settings.sources import (
    KINDS,
    Live,
    LiveSettings,
    Section,
    SerialSettings,
    SimulatorSettings,
    SourceSettings,
)
from edge_agent.settings.sources import SECTIONS as SOURCE_SECTIONS
from wardstream.contracts.errors import ConfigurationError, ContractError
from wardstream.contracts.identity import check_id
from wardstream.contracts.waveform import GenerationMode

PREFIX: Final = "EDGE_"
_CHECKOUT: Final = Path(__file__).resolve().parents[2]


def _is_id(value: str) -> str:
    try:
        return check_id(value, "id")
    except ContractError as error:
        raise ValueError(str(error)) from error


def _is_command(value: str) -> str:
    if not shlex.split(value):
        raise ValueError("it names no program")
    return value


Identifier = Annotated[str, AfterValidator(_is_id)]
Command = Annotated[str, AfterValidator(_is_command)]


class MqttSettings(Section):
    """The broker. Without this section the bed alarms alone and the outbox fills."""

    url: SecretStr = Field(description="mqtt://user:password@host:port, or mqtts:// for TLS")
    window: Annotated[int, Field(ge=5, le=100)] = 32

    @field_validator("url")
    @classmethod
    def _is_a_broker(cls, url: SecretStr) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError("expected mqtt://[user:password@]host[:port]")
        _ = parts.port  # raises ValueError where it is no number
        return url

    @property
    def address(self) -> tuple[str, int, bool]:
        """Host, port, and whether TLS is spoken."""
        parts = urlsplit(self.url.get_secret_value())
        tls = parts.scheme == "mqtts"
        return parts.hostname or "", parts.port or (8883 if tls else 1883), tls

    @property
    def credentials(self) -> tuple[str | None, str | None]:
        """User name and password."""
        parts = urlsplit(self.url.get_secret_value())
        return (
            unquote(parts.username) if parts.username else None,
            unquote(parts.password) if parts.password else None,
        )


class ModelSettings(Section):
    """Which model judges and where new ones come from."""

    bundle_dir: Path = _CHECKOUT / "models" / "artifacts" / "rhythm"
    repository_url: str | None = None
    trusted_root: Path | None = None
    backend: Literal[
        "auto", "onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt"
    ] = "auto"
    latency_budget_ms: Annotated[float, Field(gt=0, le=100)] = 5.0

    @model_validator(mode="after")
    def _a_repository_needs_a_root(self) -> Self:
        if (self.repository_url is None) != (self.trusted_root is None):
            raise ValueError(
                "repository_url and trusted_root belong together: an unsigned model is never taken"
            )
        return self


class OutboxSettings(Section):
    """How much may wait for the cloud on the disk."""

    max_bytes: Annotated[int, Field(ge=1_000_000)] = 512_000_000
    max_age_s: Annotated[float, Field(ge=3600)] = 7 * 86_400.0


class RingSettings(Section):
    """How much of the raw curves is kept on the device's own disk."""

    max_bytes: Annotated[int, Field(ge=10_000_000)] = 1_000_000_000
    max_age_s: Annotated[float, Field(ge=600)] = 72 * 3600.0


class JudgementSettings(Section):
    """What a site may set about alarms."""

    spo2_lower_percent: Annotated[float, Field(ge=50, le=100)] = 90.0
    strip_before_s: Annotated[float, Field(ge=0, le=30)] = 10.0
    strip_after_s: Annotated[float, Field(ge=0, le=30)] = 5.0
    no_data_after_s: Annotated[float, Field(ge=1, le=60)] = 5.0


class AnnunciationSettings(Section):
    """Sound and light at the bed."""

    sound_command: Command | None = Field(
        default=None, description="plays a WAV file from its standard input, such as `aplay -q`"
    )
    light_red_pin: Annotated[int, Field(ge=1, le=40)] | None = None
    light_yellow_pin: Annotated[int, Field(ge=1, le=40)] | None = None
    light_library: str = "Jetson.GPIO"

    @model_validator(mode="after")
    def _a_light_has_two_pins(self) -> Self:
        if (self.light_red_pin is None) != (self.light_yellow_pin is None):
            raise ValueError("light_red_pin and light_yellow_pin belong together")
        return self


class EdgeSettings(BaseSettings):
    """One bed's agent, for example ``EDGE_BED_ID=icu-1-4 EDGE_SOURCE__KIND=simulator``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    site_id: Identifier
    unit_id: Identifier
    bed_id: Identifier
    device_id: Identifier
    state_dir: Path
    generation_mode: GenerationMode
    source: SourceSettings
    companions: tuple[LiveSettings, ...] = Field(
        default=(), description="further live devices of the bed, such as a numerics gateway"
    )
    mqtt: MqttSettings | None = None
    platform: PlatformSettings = PlatformSettings()
    model: ModelSettings = ModelSettings()
    outbox: OutboxSettings = OutboxSettings()
    ring: RingSettings = RingSettings()
    judgement: JudgementSettings = JudgementSettings()
    annunciation: AnnunciationSettings = AnnunciationSettings()
    orders_key: Path | None = Field(
        default=None,
        description="public key (PEM) of whoever signs silences, leases, limits and"
        " acknowledgements; without it nothing can make the bed quiet",
    )
    site_alarms: Path | None = Field(
        default=None, description="the site's signed alarm profile; needs orders_key"
    )
    hook_command: Command | None = None
    hook_deadline_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    metrics_host: str = "127.0.0.1"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _a_simulated_patient_is_not_real(self) -> Self:
        simulated = isinstance(self.source, SimulatorSettings)
        if simulated and self.generation_mode is GenerationMode.REAL:
            raise ValueError("a simulated patient cannot have generation_mode real")
        return self

    @model_validator(mode="after")
    def _companions_are_of_a_live_bed(self) -> Self:
        if self.companions and not isinstance(self.source, Live):
            raise ValueError("companions need a live source: a recording is played alone")
        return self

    @model_validator(mode="after")
    def _devices_fit_the_board(self) -> Self:
        for device in (self.source, *self.companions):
            if not isinstance(device, SerialSettings):
                continue
            if len(device.channels) > self.platform.max_channels:
                raise ValueError(
                    f"{len(device.channels)} channels, but platform.max_channels is"
                    f" {self.platform.max_channels}"
                )
            if device.sampling_rate_hz > self.platform.max_rate_hz:
                raise ValueError(
                    f"{device.sampling_rate_hz:g} Hz, but platform.max_rate_hz is"
                    f" {self.platform.max_rate_hz:g}"
                )
        return self

    @model_validator(mode="after")
    def _an_unsigned_table_is_never_taken(self) -> Self:
        if self.site_alarms is not None and self.orders_key is None:
            raise ValueError("site_alarms needs orders_key: an unsigned profile is never taken")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # What a profile says gives way to what the environment says.
        return env_settings, init_settings


def read_profile(path: Path) -> dict[str, Any]:
    """The settings a device profile (YAML) states.

    Raises
    ------
    ConfigurationError
        It cannot be read or is no mapping.
    """
    try:
        profile = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError([f"profile {path}: {error}"]) from error
    if not isinstance(profile, dict):
        raise ConfigurationError([f"profile {path} is no mapping of settings"])
    return {key: value for key, value in profile.items() if key != "$schema"}


def load_settings(
    profile: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> EdgeSettings:
    """Settings from the environment, above those of `profile`.

    Raises
    ------
    ConfigurationError
        With every problem found: missing, malformed, contradicting, misspelt.
    """
    variables = os.environ if environment is None else environment
    problems = _unknown_variables(variables)
    try:
        settings = EdgeSettings(**dict(profile or {}))
    except ValidationError as error:
        problems += [_in_words(problem) for problem in error.errors()]
        raise ConfigurationError(problems) from error
    if problems:
        raise ConfigurationError(problems)
    return settings


def _unknown_variables(variables: Mapping[str, str]) -> list[str]:
    # extra="forbid" does not see a misspelt top-level variable, so it is looked for here.
    known = {f"{PREFIX}{name.upper()}" for name in EdgeSettings.model_fields}
    return [
        f"{name} is not a setting of the agent (see `python -m edge_agent run --help`)"
        for name in sorted(variables)
        if name.upper().startswith(PREFIX) and name.upper().split("__")[0] not in known
    ]


def _in_words(problem: Any) -> str:
    where = problem["loc"]
    if where and where[0] in ("source", "companions"):
        where = tuple(part for part in where if part not in KINDS)  # pydantic names the union's tag
    path = "__".join(str(part) for part in where)
    name = f"{PREFIX}{path.upper()}" if path else "settings"
    return f"{name}: {problem['msg']}"


def profile_schema() -> dict[str, Any]:
    """JSON schema of a device profile: any part of the settings, none of them required."""
    schema = EdgeSettings.model_json_schema()
    schema.pop("required", None)
    schema["title"] = "Wardstream edge profile"
    schema["properties"]["$schema"] = {"type": "string"}
    bundle_dir = schema["$defs"]["ModelSettings"]["properties"]["bundle_dir"]
    bundle_dir["default"] = "models/artifacts/rhythm"
    schema["properties"]["model"].pop("default", None)
    return schema


def describe() -> list[tuple[str, str]]:
    """Every variable of the agent with its meaning, for people."""
    lines: list[tuple[str, str]] = []
    sections: dict[str, tuple[type[BaseModel], ...]] = {
        "mqtt": (MqttSettings,),
        "source": SOURCE_SECTIONS,
        "platform": (PlatformSettings,),
        "model": (ModelSettings,),
        "outbox": (OutboxSettings,),
        "ring": (RingSettings,),
        "judgement": (JudgementSettings,),
        "annunciation": (AnnunciationSettings,),
    }
    for name, field in EdgeSettings.model_fields.items():
        if name not in sections:
            lines.append((f"{PREFIX}{name.upper()}", _meaning(field)))
        for section in sections.get(name, ()):
            lines.extend(
                (f"{PREFIX}{name.upper()}__{inner.upper()}", _meaning(inner_field))
                for inner, inner_field in section.model_fields.items()
            )
    return list(dict(lines).items())


def _meaning(field: FieldInfo) -> str:
    required = "required" if field.is_required() else f"default {field.default}"
    return f"{field.description}; {required}" if field.description else required
