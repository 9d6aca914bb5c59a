"""What the routes are given: ports, never adapters."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import msgspec
from fastapi import Depends, Request, Response

from cloud_api.core.ports import (
    AlertDesk,
    Clock,
    EscalationDesk,
    Feed,
    ModelRepository,
    OrderDesk,
    ReadStore,
    SignInDesk,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What has to work before this replica should be sent people."""

    broker: bool
    store: bool
    journal: bool
    users: bool

    @property
    def is_ready(self) -> bool:
        """Whether all of it works."""
        return self.broker and self.store and self.journal and self.users


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """Everything behind the routes.

    Attributes
    ----------
    readiness : callable
        What works now, from what the services saw last; asks no server.
    metrics : callable
        Prometheus text.
    static_dir : Path
        The built dashboard.
    secure_cookie : bool
        Whether the session cookie is for TLS only.
    """

    reads: ReadStore
    sign_in: SignInDesk
    alerts: AlertDesk
    orders: OrderDesk
    escalations: EscalationDesk
    feed: Feed
    models: ModelRepository
    clock: Clock
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    static_dir: Path
    secure_cookie: bool


def parts_of(request: Request) -> ApiParts:
    """The parts this application was built with."""
    return cast("ApiParts", request.app.state.parts)


Parts = Annotated[ApiParts, Depends(parts_of)]


def json_response(view: object, status_code: int = 200) -> Response:
    """`view` as JSON, by the encoder that knows our dataclasses; the route states its model."""
    return Response(msgspec.json.encode(view), status_code, media_type="application/json")
