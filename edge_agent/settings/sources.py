"""What a bed acquires from: one section for each kind of source."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from wardstream.contracts.codes import code_by_mdc
from wardstream.contracts.errors import ContractError
from wardstream.contracts.units import conversion, parse_unit


class Section(BaseModel):
    """A part of the settings: frozen, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Playback(Section):
    """How a recording is played."""

    pace: Literal["realtime", "fast"] = "realtime"
    loop: bool = False
    start_s: Annotated[float, Field(ge=0)] = 0.0
    packet_ms: Annotated[int, Field(ge=10, le=1000)] = 40


class WfdbSettings(Playback):
    """A recording, played as a device would deliver it."""

    kind: Literal["wfdb"]
    record: Path = Field(description="path of the record, without extension")


class EdfSettings(Playback):
    """An EDF or EDF+C recording, played as a device would deliver it."""

    kind: Literal["edf"]
    record: Path = Field(description="path of the .edf file")


class SimulatorSettings(Playback):
    """A simulated patient."""

    kind: Literal["simulator"]
    script: Path | None = Field(default=None, description="YAML scenario; without it, at rest")
    seed: Annotated[int, Field(ge=0)] = 0


class Live(Section):
    """A device at the bed."""

    packet_ms: Annotated[int, Field(ge=10, le=1000)] = 40

    @property
    def pace(self) -> Literal["realtime"]:
        """A live device has the pace of time."""
        return "realtime"


class Hl7Settings(Live):
    """Numerics of a monitor gateway that connects here: HL7 v2 ORU^R01 over MLLP."""

    kind: Literal["hl7"]
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=1, le=65_535)] = 2575
    location: Annotated[tuple[str, ...], Field(max_length=3)] = Field(
        default=(),
        description="PV1-3 of this bed (point of care, room, bed); () if the line is its alone",
    )
    processing_id: Literal["P", "T", "D"] = "P"
    idle_s: Annotated[float, Field(ge=5, le=3600)] = 120.0
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = Field(default=None, description="the gateway must be certified by it")

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        if self.authority is not None and self.certificate is None:
            raise ValueError("authority means TLS, which needs certificate and key")
        return self


class SerialChannelSettings(Section):
    """What one input of a front-end measures."""

    input: Annotated[int, Field(ge=0, le=7)]
    code: str = Field(description="MDC reference id")
    unit: str = Field(description="UCUM unit of `scale`")
    scale: Annotated[float, Field(gt=0)] = Field(description="of one count, in `unit`")

    @model_validator(mode="after")
    def _unit_measures_code(self) -> Self:
        _check_stated(self.code, self.unit)
        return self


class SerialSettings(Live):
    """An analogue front-end on a serial line, framed as the driver documents."""

    kind: Literal["serial"]
    port: str = Field(description="device node, best one that udev names for good")
    baud_rate: Annotated[int, Field(ge=9600, le=12_000_000)] = 921_600
    sampling_rate_hz: Annotated[float, Field(ge=25, le=4000)]
    channels: Annotated[tuple[SerialChannelSettings, ...], Field(min_length=1, max_length=8)]

    @field_validator("channels")
    @classmethod
    def _each_once(
        cls, channels: tuple[SerialChannelSettings, ...]
    ) -> tuple[SerialChannelSettings, ...]:
        for what in ("input", "code"):
            named = [getattr(channel, what) for channel in channels]
            if len(set(named)) != len(named):
                raise ValueError(f"an {what} is named twice")
        return channels


class LslChannelSettings(Section):
    """A channel whose stream does not name it in MDC."""

    label: str
    code: str
    unit: str = Field(default="", description='UCUM; "" takes what the stream states')

    @model_validator(mode="after")
    def _unit_measures_code(self) -> Self:
        _check_stated(self.code, self.unit or None)
        return self


class LslSettings(Live):
    """A stream of the Lab Streaming Layer."""

    kind: Literal["lsl"]
    source_id: Annotated[str, Field(min_length=1)]
    resolve_s: Annotated[float, Field(ge=0.2, le=30)] = 2.0
    channels: tuple[LslChannelSettings, ...] = ()


class SdcSettings(Live):
    """A device that speaks IEEE 11073 SDC."""

    kind: Literal["sdc"]
    epr: str = Field(default="", description="endpoint reference, urn:uuid:...")
    address: str = Field(default="", description="https://host:port/path, instead of discovery")
    interface: str = Field(default="127.0.0.1", description="our address in the device's network")
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    @model_validator(mode="after")
    def _one_device_and_whole_tls(self) -> Self:
        if bool(self.epr) == bool(self.address):
            raise ValueError("state one of epr (discovery) and address")
        given = [self.certificate, self.key, self.authority]
        if any(given) and not all(given):
            raise ValueError("certificate, key and authority belong together")
        if self.address.startswith("https") and not all(given):
            raise ValueError("an https address needs certificate, key and authority")
        return self


class MqttNumericsSettings(Live):
    """Numerics of wearables and glucose sensors, as JSON over MQTT."""

    kind: Literal["mqtt"]
    url: SecretStr = Field(description="mqtt://user:password@host:port, or mqtts:// for TLS")
    topic: Annotated[str, Field(min_length=1, pattern=r"^[^+#]+$")] = Field(
        description="of this bed's devices; no wildcard, or another bed's values would come"
    )
    authority: Path | None = None

    @field_validator("url")
    @classmethod
    def _is_a_broker(cls, url: SecretStr) -> SecretStr:
        return check_broker(url)


def check_broker(url: SecretStr) -> SecretStr:
    """`url` itself, if it names a broker; ValueError else, as validators raise it."""
    parts = urlsplit(url.get_secret_value())
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ValueError("expected mqtt://[user:password@]host[:port]")
    _ = parts.port  # raises ValueError where it is no number
    return url


def broker_address(url: SecretStr) -> tuple[str, int, bool]:
    """Host, port, and whether TLS is spoken."""
    parts = urlsplit(url.get_secret_value())
    tls = parts.scheme == "mqtts"
    return parts.hostname or "", parts.port or (8883 if tls else 1883), tls


def broker_credentials(url: SecretStr) -> tuple[str | None, str | None]:
    """User name and password."""
    parts = urlsplit(url.get_secret_value())
    return (
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
    )


def _check_stated(code: str, unit: str | None) -> None:
    try:
        registered = code_by_mdc(code)
        if unit is not None:
            conversion(parse_unit(unit), registered.unit)
    except ContractError as error:
        raise ValueError(str(error)) from error


LiveSettings = Annotated[
    Hl7Settings | SerialSettings | LslSettings | SdcSettings | MqttNumericsSettings,
    Field(discriminator="kind"),
]

SourceSettings = Annotated[
    WfdbSettings
    | EdfSettings
    | SimulatorSettings
    | Hl7Settings
    | SerialSettings
    | LslSettings
    | SdcSettings
    | MqttNumericsSettings,
    Field(discriminator="kind"),
]

SECTIONS: Final[tuple[type[BaseModel], ...]] = (
    WfdbSettings,
    EdfSettings,
    SimulatorSettings,
    Hl7Settings,
    SerialSettings,
    LslSettings,
    SdcSettings,
    MqttNumericsSettings,
)
"""Every kind of source."""

KINDS: Final = ("wfdb", "edf", "simulator", "hl7", "serial", "lsl", "sdc", "mqtt")
"""Their names, which pydantic puts into the path of a problem."""
