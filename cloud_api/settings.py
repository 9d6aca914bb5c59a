"""All the API needs, from ``CLOUD_*`` variables; every problem at once, nothing guessed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, cast
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from wardstream.contracts.errors import ConfigurationError, OutOfRangeError
from wardstream.contracts.identity import check_id

PREFIX: Final = "CLOUD_"

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

_FROM_ENVIRONMENT: Final[dict[str, Any]] = {}
"""No values but those of the environment."""

S = TypeVar("S", bound="StoreSettings")


class StoreSettings(BaseSettings):
    """What the staff commands need: the database alone."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    database_url: SecretStr

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr) -> SecretStr:
        if urlsplit(value.get_secret_value()).scheme not in ("postgresql", "postgres"):
            raise ValueError("expected postgresql://user:password@host:port/name")
        return value


class CloudSettings(StoreSettings):
    """All the API process needs.

    Attributes
    ----------
    database_url, mqtt_url : secret str
        Servers; they hold passwords.
    http_host, http_port
        Where to listen.
    session_secret : secret str
        At least 32 characters, the same for all replicas.
    instance : str
        Tells replicas apart at the broker, the same over restarts of one.
    model_repository_dir : Path or None
        The signed model repository; None if this site has none.
    admin_password, demo_nurse_password : secret str or None
        Passwords of users ``admin`` and ``nurse``, created at first start.
    acknowledgement_s : float
        How long an acknowledgement holds, in seconds: 30 to 3600. Five minutes by default: longer
        than it takes to reach the bed and act, short enough that an alert nobody treated comes
        back within one round (monitors remind every two to three minutes, pause for two).
    silence_s : float
        Silence of a device after which the cloud raises its own alert, in seconds: 5 to 60.
    orders_key : Path or None
        Ed25519 private key (PEM) that signs what beds obey; without it nothing can make a bed
        quiet, and acknowledgements go unsigned.
    lease_s : float
        How long a station may stay unheard before the beds it silenced sound, in seconds: 1 to 5.
    escalate_after_s : tuple of float
        When the nurse, the second nurse and the physician are called about an unanswered
        high-priority alert, in seconds after it; growing.
    escalation_delivery_s : float
        How long a call may go unshown before the next in line is called, in seconds.
    secure_cookie : bool or None
        Whether the session cookie is for TLS only; by default unless listening on loopback.
    static_dir : Path or None
        Another build of the dashboard than the shipped one.
    log_level
        Least level that is logged.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    mqtt_url: SecretStr
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    session_secret: Annotated[SecretStr, Field(min_length=32)]
    instance: str = "0"
    model_repository_dir: Path | None = None
    admin_password: Annotated[SecretStr, Field(min_length=8)] | None = None
    demo_nurse_password: Annotated[SecretStr, Field(min_length=4)] | None = None
    acknowledgement_s: Annotated[float, Field(ge=30, le=3600)] = 300.0
    silence_s: Annotated[float, Field(ge=5, le=60)] = 10.0
    orders_key: Path | None = None
    lease_s: Annotated[float, Field(ge=1, le=5)] = 1.5
    escalate_after_s: tuple[float, float, float] = (0.0, 60.0, 120.0)
    escalation_delivery_s: Annotated[float, Field(gt=0, le=600)] = 15.0
    secure_cookie: bool | None = None
    static_dir: Path | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING"] = "INFO"

    @field_validator("mqtt_url")
    @classmethod
    def _is_mqtt(cls, value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError("expected mqtt://user:password@host:port (or mqtts://)")
        return value

    @field_validator("instance")
    @classmethod
    def _is_id(cls, value: str) -> str:
        try:
            return check_id(value, "instance")
        except OutOfRangeError as error:
            raise ValueError(str(error)) from error

    @field_validator("escalate_after_s")
    @classmethod
    def _times_grow(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if value[0] < 0 or not value[0] < value[1] < value[2]:
            raise ValueError("expected three growing times in seconds, such as [0, 60, 120]")
        return value

    @model_validator(mode="after")
    def _foreign_clients_need_tls(self) -> Self:
        if self.secure_cookie is False and self.http_host not in _LOOPBACK:
            raise ValueError(
                f"secure_cookie is false, but http_host {self.http_host} serves other machines"
            )
        return self

    @property
    def broker(self) -> "Broker":
        """The broker's address, taken apart."""
        parts = urlsplit(self.mqtt_url.get_secret_value())
        tls = parts.scheme == "mqtts"
        return Broker(
            host=parts.hostname or "",
            port=parts.port or (8883 if tls else 1883),
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
            tls=tls,
        )

    @property
    def cookie_is_secure(self) -> bool:
        """Whether the session cookie is for TLS only."""
        if self.secure_cookie is not None:
            return self.secure_cookie
        return self.http_host not in _LOOPBACK


class Broker:
    """Where the broker is and who we are there."""

    __slots__ = ("host", "password", "port", "tls", "username")

    def __init__(
        self, *, host: str, port: int, username: str | None, password: str | None, tls: bool
    ) -> None:
        self.host = host
        self.port = port
        self.username = username
        self.password = password
        self.tls = tls


def read_settings(kind: type[S], environment: Mapping[str, str]) -> S:
    """Settings of type `kind` from the variables of this process.

    Parameters
    ----------
    kind : type
        `CloudSettings`, or `StoreSettings` for commands that need no more.
    environment : mapping
        ``os.environ``, to find misspelt variables: pydantic does not see those.

    Raises
    ------
    ConfigurationError
        Anything is missing, wrong or misspelt; lists all of it.
    """
    known = {f"{PREFIX}{name}".upper() for name in CloudSettings.model_fields}
    problems = [
        f"{name} is not a setting; there are {', '.join(sorted(known))}"
        for name in sorted(environment)
        if name.upper().startswith(PREFIX) and name.upper() not in known
    ]
    try:
        settings = kind(**_FROM_ENVIRONMENT)
    except ValidationError as error:
        for found in error.errors():
            field = "_".join(str(part) for part in cast("tuple[Any, ...]", found["loc"]))
            problems.append(f"{PREFIX}{field.upper()}: {found['msg']}".rstrip())
        raise ConfigurationError(problems) from None
    if problems:
        raise ConfigurationError(problems)
    return settings
