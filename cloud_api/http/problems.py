"""Errors as RFC 9457 problem documents."""

from typing import Any, cast

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from cloud_api.core.errors import ApiRefusedError, TooManyAttemptsError
from wardstream.contracts.errors import ContractError, RefusedError, TransientError


def problem(
    status: int, title: str, detail: str, *, headers: dict[str, str] | None = None, **more: object
) -> Response:
    """A problem document."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return Response(
        msgspec.json.encode(body), status, headers, media_type="application/problem+json"
    )


def _refused(_request: Request, error: Exception) -> Response:
    headers: dict[str, str] = {}
    if isinstance(error, TooManyAttemptsError):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, ApiRefusedError):
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return problem(error.status, error.title, str(error), headers=headers)
    return problem(400, "The request was refused", str(error))


def _broken_contract(_request: Request, error: Exception) -> Response:
    return problem(422, "A value cannot be", str(error))


def _away(_request: Request, error: Exception) -> Response:
    # The text may name hosts; people are told what it means for them.
    del error
    return problem(
        503, "Not available now", "the store is away; try again", headers={"Retry-After": "1"}
    )


def _invalid(_request: Request, error: Exception) -> Response:
    found = cast("list[dict[str, Any]]", cast("RequestValidationError", error).errors())
    problems = [
        {"where": ".".join(str(part) for part in one["loc"]), "what": str(one["msg"])}
        for one in found
    ]
    return problem(422, "The request does not fit", "see problems", problems=problems)


def _http(_request: Request, error: Exception) -> Response:
    failure = cast("HTTPException", error)
    headers = dict(failure.headers) if failure.headers else None
    return problem(failure.status_code, str(failure.detail), str(failure.detail), headers=headers)


def _defect(_request: Request, _error: Exception) -> Response:
    # Starlette raises it again after this answer, so the server logs it whole.
    return problem(500, "Internal error", "a defect; the log has it")


def install_problems(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document."""
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(ContractError, _broken_contract)
    app.add_exception_handler(TransientError, _away)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)
