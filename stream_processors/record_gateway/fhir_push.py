"""FHIR by push: ``POST /fhir`` (a bundle) and ``POST /fhir/{type}``, on loopback, with a token.

The answer is an OperationOutcome (of a bundle, a Bundle of the same kind as the request's
response): 200 when taken, 422 when kept for a person and not taken, 503 when it should be sent
again.
"""

import asyncio
import contextlib
import hmac
import json
import logging
from collections.abc import Generator
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from stream_processors.core.ledger import Answer
from stream_processors.record_gateway.fhir_intake import READ, read_fhir
from stream_processors.record_gateway.gateway import Gateway
from wardstream.contracts.errors import TransientError

logger = logging.getLogger(__name__)

_MAX_BYTES: Final = 16 << 20
_FHIR_JSON: Final = "application/fhir+json; charset=utf-8; fhirVersion=4.0"


def push_app(gateway: Gateway, token: str, *, source: str = "push") -> Starlette:
    """The endpoint; `source` is whose ids the resources carry."""

    async def take(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            return _outcome(401, "error", "login", "a bearer token is needed (STREAM_FHIR_TOKEN)")
        kind = request.path_params.get("kind", "Bundle")
        if kind not in (*READ, "Bundle"):
            return _outcome(404, "error", "not-supported", f"taken are: {', '.join(READ)}")
        try:
            payload = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if payload is None:
            return _outcome(413, "error", "too-long", f"longer than {_MAX_BYTES} bytes")
        try:
            answer = await take_fhir(gateway, payload, source)
        except TransientError:
            return _outcome(503, "error", "transient", "not stored; send it again")
        if answer.code != "AA":
            return _outcome(422, "error", "processing", answer.text)
        return _outcome(200, "warning" if answer.text else "information", "informational",
                        answer.text or "taken")  # fmt: skip

    async def alive(request: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    return Starlette(
        routes=[
            Route("/fhir", take, methods=["POST"]),
            Route("/fhir/{kind}", take, methods=["POST"]),
            Route("/health", alive, methods=["GET"]),
        ]
    )


async def take_fhir(gateway: Gateway, payload: bytes, source: str) -> Answer:
    """Hand one FHIR payload to the gateway.

    Raises
    ------
    TransientError
        Ledger or Kafka is away.
    """
    now_ns = gateway.now_ns()
    return await gateway.take(
        gateway.key(f"fhir:{source}", "", payload),
        lambda: read_fhir(payload, gateway.conventions, server=source, received_ns=now_ns),
        origin=f"record/fhir/{source}"[:60],
        kept=lambda: b"(%d bytes withheld: not readable as FHIR)" % len(payload),
    )


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BYTES:
            return None
    return bytes(body)


def _outcome(status: int, severity: str, code: str, text: str) -> Response:
    issue = {"severity": severity, "code": code, "diagnostics": text}
    outcome: dict[str, Any] = {"resourceType": "OperationOutcome", "issue": [issue]}
    headers = {"Retry-After": "5"} if status == 503 else None
    return Response(
        json.dumps(outcome, ensure_ascii=False), status, headers=headers, media_type=_FHIR_JSON
    )


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Signals are the process's: it stops all parts together.
        yield


class PushServer:
    """Serves `push_app` on loopback until told to stop; an answer may be long in coming."""

    name = "fhir push"

    def __init__(self, app: Starlette, port: int) -> None:
        self._server = _Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=port,
                log_config=None,
                access_log=False,  # a path may hold an id
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=3,
                limit_concurrency=200,
            )
        )
        self._port = port

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set."""
        serving = asyncio.ensure_future(self._server.serve())
        stopping = asyncio.ensure_future(stop.wait())
        logger.info("FHIR push on http://127.0.0.1:%d/fhir", self._port)
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._server.should_exit = True
            await serving
        finally:
            stopping.cancel()
