"""What this tier refuses, each with the HTTP status that says so."""

from typing import ClassVar

from wardstream.contracts.errors import RefusedError, TransientError


class ApiRefusedError(RefusedError):
    """A refusal that a person or a program at the other end can act on."""

    status: ClassVar[int] = 400
    title: ClassVar[str] = "The request was refused"


class NotFoundError(ApiRefusedError):
    """There is no such thing, or not yet."""

    status = 404
    title = "Not found"


class NotSignedInError(ApiRefusedError):
    """Nobody, or nobody any more: sign in."""

    status = 401
    title = "Sign in first"


class ForbiddenError(ApiRefusedError):
    """Signed in, but this role may not."""

    status = 403
    title = "Your role may not do this"


class ForeignOriginError(ApiRefusedError):
    """An unsafe request with a cookie that does not show it came from our own page."""

    status = 403
    title = "The request did not come from this page"


class ConflictError(ApiRefusedError):
    """It made sense once; the state is another now."""

    status = 409
    title = "The state has changed"


class TooManyAttemptsError(ApiRefusedError):
    """Wait before the next attempt.

    Attributes
    ----------
    retry_after_s : int
        Seconds to wait, at least 1.
    """

    status = 429
    title = "Too many attempts"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreAwayError(TransientError):
    """The database cannot be reached, or is not ready for this version."""


class LinkAwayError(TransientError):
    """The broker cannot be reached."""
