"""Serves the dashboard over a `MemoryWard`; by hand: ``PYTHONPATH=tests python -m fakes.dashboard_server``."""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import uvicorn
from fakes.dashboard_ward import MemoryWard
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

import cloud_api
from cloud_api.http.app import create_app
from cloud_api.http.parts import ApiParts, Readiness

T = TypeVar("T")

STATIC_DIR = Path(cloud_api.__file__).parent / "web" / "static"


class DashboardServer:
    """The real HTTP application over a `MemoryWard`, in a thread, on a free port of loopback."""

    def __init__(self, port: int = 0) -> None:
        self.ward = MemoryWard()
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        parts = ApiParts(
            reads=self.ward,
            sign_in=self.ward,
            alerts=self.ward,
            orders=self.ward,
            escalations=self.ward,
            feed=self.ward,
            models=self.ward,
            clock=time.time_ns,
            readiness=lambda: Readiness(broker=True, store=True, journal=True, users=True),
            metrics=lambda: b"",
            static_dir=STATIC_DIR,
            secure_cookie=False,
        )
        self._app = create_app(parts)
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            log_level="error",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="dashboard-server")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.ward.out_of_order and str(scope.get("path", "")).startswith("/api/"):
            await PlainTextResponse("out of order", 502)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        stop = asyncio.Event()
        following = asyncio.ensure_future(self.ward.fan_out.run(stop))
        await self._server.serve(sockets=[self._socket])
        stop.set()
        await following

    def __enter__(self) -> Self:
        self._thread.start()
        deadline_s = time.monotonic() + 10
        while not self._server.started and time.monotonic() < deadline_s:
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.do(self.ward.cut_streams)
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()

    def do(self, action: Callable[[], T]) -> T:
        """Run `action` on the server's own loop and return what it returned."""

        async def run() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)


def main() -> None:
    """Serve the demonstration ward until Ctrl-C."""
    from fakes.demonstration import run_demonstration

    n_beds = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    with DashboardServer(port=int(sys.argv[2]) if len(sys.argv) > 2 else 0) as server:
        print(f"{server.url}  (nurse / nurse-password, admin / admin-password)")
        run_demonstration(server, n_beds)


if __name__ == "__main__":
    main()
