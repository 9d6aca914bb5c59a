"""What the agent answers over HTTP: ``/metrics``, ``/health`` and ``/ready``, and nothing else."""

import json
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

Answer = tuple[bool, Mapping[str, object]]
"""Whether it is well, and why."""

_JSON: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    timeout = 5.0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nobody reads a line for each scrape."""


class StatusServer:
    """Answers on `host`:`port` from threads of its own.

    ``/health`` is 200 while the agent is alive and 503 when only a restart helps; ``/ready`` is
    200 while the bed is watched.

    Parameters
    ----------
    host, port
        Where.
    collector : Collector
        Of the metrics.
    health, ready : callable
        Asked at each request.
    """

    def __init__(
        self,
        host: str,
        port: int,
        collector: Collector,
        *,
        health: Callable[[], Answer],
        ready: Callable[[], Answer],
    ) -> None:
        self._host = host
        self._port = port
        registry = CollectorRegistry()
        registry.register(collector)
        self._metrics: Any = make_wsgi_app(registry)
        self._questions = {"/health": health, "/ready": ready}
        self._server: WSGIServer | None = None

    def start(self) -> None:
        """Begin to answer."""
        self._server = make_server(self._host, self._port, self._answer, _Server, _Silent)
        Thread(target=self._server.serve_forever, name="status server", daemon=True).start()

    def stop(self) -> None:
        """Release the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _answer(self, environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "")
        if environment.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            start("405 Method Not Allowed", [("Allow", "GET, HEAD")])
            return [b""]
        if path == "/metrics":
            return self._metrics(environment, start)
        if path not in self._questions:
            start("404 Not Found", list(_JSON))
            return [b'{"there_is": ["/metrics", "/health", "/ready"]}']
        well, why = self._questions[path]()
        start("200 OK" if well else "503 Service Unavailable", list(_JSON))
        return [json.dumps({"ok": well, **why}).encode()]
