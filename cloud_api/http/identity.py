"""Who is asking: cookie or bearer token, and that an unsafe request is meant."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request

from cloud_api.core.errors import ForeignOriginError, NotSignedInError
from cloud_api.core.staff import Permission, Principal
from cloud_api.http.parts import Parts

COOKIE: Final = "wardstream_session"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def token_of(request: Request) -> str:
    """The session token of a request; a bearer token goes before a cookie.

    Raises
    ------
    NotSignedInError
        There is none.
    ForeignOriginError
        An unsafe request relies on the cookie, which a browser sends whoever asks for it, and
        does not show that our own page asked.
    """
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials:
        return credentials.strip()
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        raise NotSignedInError("sign in first")
    if request.method not in _SAFE and not _is_own_page(request):
        raise ForeignOriginError(
            "send the header 'X-Requested-With: wardstream', or an Origin that is this host's"
        )
    return cookie


def _is_own_page(request: Request) -> bool:
    # A foreign page cannot set this header without our consent (CORS preflight).
    if request.headers.get("x-requested-with", "").lower() == "wardstream":
        return True
    # The host alone: behind a proxy that ends TLS the scheme is not the browser's.
    origin = urlsplit(request.headers.get("origin", ""))
    return bool(origin.netloc) and origin.netloc == request.headers.get("host")


async def signed_in(request: Request, parts: Parts) -> Principal:
    """The principal of a live session."""
    return await parts.sign_in.authenticate(token_of(request))


SignedInUser = Annotated[Principal, Depends(signed_in)]


def watcher(principal: SignedInUser) -> Principal:
    """A principal that may watch the ward."""
    principal.require(Permission.WATCH)
    return principal


Watcher = Annotated[Principal, Depends(watcher)]
