"""The live stream: server-sent events that lose no alert."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.types import Receive, Scope, Send

from cloud_api.core.errors import ApiRefusedError
from cloud_api.core.ports import Feed, SignInDesk
from cloud_api.http.identity import Watcher, token_of
from cloud_api.http.parts import Parts
from wardstream.contracts.errors import TransientError

router = APIRouter(prefix="/api", tags=["stream"])

_SEND_DEADLINE_S: Final = 10.0
"""A reader that takes nothing for so long is cut off; it comes back and resumes."""

_REAUTHENTICATE_S: Final = 60.0

Position = Annotated[int | None, Query(ge=0, lt=2**63)]
HeaderPosition = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, lt=2**63)]


class EventStream(Response):
    """One open event stream; ends with the session, the connection or the process."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, desk: SignInDesk, token: str, last_event_id: int | None) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._desk = desk
        self._token = token
        self._last_event_id = last_event_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until one of the two sides leaves."""
        streaming = asyncio.ensure_future(self._stream(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({streaming, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            streaming.cancel()
            done = await asyncio.gather(streaming, leaving, return_exceptions=True)
        if isinstance(done[0], Exception) and not isinstance(done[0], OSError):
            raise done[0]  # OSError: the reader was gone or too slow, TimeoutError included

    async def _stream(self, send: Send) -> None:
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        loop = asyncio.get_running_loop()
        next_check_s = loop.time() + _REAUTHENTICATE_S
        async with self._feed.follow(self._last_event_id) as events:
            async for chunk in events:
                message = {"type": "http.response.body", "body": chunk, "more_body": True}
                await asyncio.wait_for(send(message), _SEND_DEADLINE_S)
                if loop.time() >= next_check_s:
                    next_check_s = loop.time() + _REAUTHENTICATE_S
                    if not await self._still_signed_in():
                        break
        await asyncio.wait_for(
            send({"type": "http.response.body", "body": b"", "more_body": False}), 1.0
        )

    async def _still_signed_in(self) -> bool:
        # An open stream is presence: asking keeps the session from idling out. A store that
        # is away must not take the alarms off the screen.
        try:
            await self._desk.authenticate(self._token)
        except TransientError:
            return True
        except ApiRefusedError:
            return False
        return True


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@router.get(
    "/stream",
    status_code=200,
    response_class=EventStream,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream(
    request: Request,
    parts: Parts,
    _user: Watcher,
    last_event_id: Position = None,
    resumed_from: HeaderPosition = None,
) -> Response:
    """Events `alert`, `strip`, `numerics`, `device`, `heartbeat`.

    With `Last-Event-ID` (or `last_event_id`) everything missed comes first. The header wins:
    a browser that reconnects by itself repeats the address but knows better by then.
    """
    position = resumed_from if resumed_from is not None else last_event_id
    return EventStream(parts.feed, parts.sign_in, token_of(request), position)
