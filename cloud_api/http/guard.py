"""What every request passes: headers that limit a browser, and a bound on what is read."""

from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_api.http.problems import problem

MAX_BODY_BYTES: Final = 64 * 1024

SECURITY_HEADERS: Final = {
    # No CDN, no inline script, no frame around us, nothing sent elsewhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " font-src 'self'; media-src 'self'; connect-src 'self'; manifest-src 'self';"
        " worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RequestGuard:
    """Outermost layer: adds the headers, refuses bodies beyond `MAX_BODY_BYTES`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                # What says something of patients is kept by nobody on the way.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if _stated_length(scope) > MAX_BODY_BYTES:
            response = problem(413, "Too large", f"at most {MAX_BODY_BYTES} bytes are read")
            await response(scope, receive, guarded_send)
            return
        await self._app(scope, _bounded(receive), guarded_send)


def _stated_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _bounded(receive: Receive) -> Receive:
    n_bytes = 0

    async def bounded() -> Message:
        nonlocal n_bytes
        message: dict[str, Any] = dict(await receive())
        n_bytes += len(message.get("body", b""))
        if n_bytes > MAX_BODY_BYTES:
            return {"type": "http.disconnect"}  # an unstated length: we stop listening
        return message

    return bounded
