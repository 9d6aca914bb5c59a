"""What requests carry, and the answers that are no view of the store."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from wardstream.contracts.alert import Condition
from wardstream.contracts.device import ModelAction


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SignInBody(_Body):
    """A user name and a password."""

    username: Annotated[str, Field(min_length=1, max_length=64)]
    password: Annotated[str, Field(min_length=1, max_length=256)]


class SessionView(BaseModel):
    """Who is signed in, until when at the latest."""

    username: str
    roles: list[str]
    expires_time_ns: int


class SignedInView(SessionView):
    """The same, once, with the token for programs; browsers get it as a cookie."""

    access_token: str


class AcknowledgeBody(_Body):
    """Why an alert is dismissed, where it is, and which revision of it was seen."""

    seen_revision: Annotated[int, Field(ge=0)] | None = None
    reason: Annotated[str, Field(max_length=500)] | None = None


class AcknowledgementSentView(BaseModel):
    """The acknowledgement is stored and on its way; the bed confirms it by an event."""

    command_id: str
    state: Literal["sent"] = "sent"


class SilenceBody(_Body):
    """One of the four silences, of a whole bed or of one condition.

    `seen` names the alerts on the page when the person pressed, each with its revision: a bed
    that has another one of high priority by then refuses.
    """

    kind: Literal[
        Condition.AUDIO_PAUSED, Condition.AUDIO_OFF, Condition.ALARM_PAUSED, Condition.ALARM_OFF
    ]
    station_id: UUID
    scope: Condition | None = None
    seconds: Annotated[float, Field(gt=0, le=12 * 3600)] | None = None
    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    seen: Annotated[dict[UUID, int], Field(max_length=200)] = Field(default_factory=dict)


class EndSilenceBody(_Body):
    """Where it is ended."""

    station_id: UUID


class RenewalBody(_Body):
    """Which station lives."""

    station_id: UUID


class RenewalView(BaseModel):
    """Devices whose silences it holds up."""

    device_ids: list[str]


class LimitPairBody(_Body):
    """Lower and upper limit of one measure."""

    lower: float | None = None
    upper: float | None = None


class LimitsBody(_Body):
    """Limits by measure, such as ``spo2_percent``."""

    limits: Annotated[dict[str, LimitPairBody], Field(max_length=20)]
    seconds: Annotated[float, Field(gt=0, le=7 * 24 * 3600)] = 24 * 3600.0
    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None


class OrderSentView(BaseModel):
    """The order is stored and on its way; the bed confirms it by an event of this id."""

    order_id: str
    state: Literal["sent"] = "sent"


class VerdictBody(_Body):
    """Whether the alert was right."""

    verdict: Literal["true", "false", "unsure"]
    comment: Annotated[str, Field(max_length=2000)] | None = None


class ModelCommandBody(_Body):
    """Which model a device, or with `device_id` null a whole site, should run."""

    action: ModelAction
    version: Annotated[int, Field(ge=0, lt=2**31)] = 0
    device_id: str | None = None
    site_id: str


class HealthView(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class ReadyView(BaseModel):
    """What works of what this replica needs."""

    ready: bool
    broker: bool
    store: bool
    journal: bool
    users: bool


class ProblemView(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
