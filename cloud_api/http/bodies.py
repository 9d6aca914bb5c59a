"""What requests carry, and the answers that are no view of the store."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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
    """Why an alert is dismissed, where it is."""

    reason: Annotated[str, Field(max_length=500)] | None = None


class AcknowledgementSentView(BaseModel):
    """The acknowledgement is stored and on its way; the bed confirms it by an event."""

    command_id: str
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
