"""Bridge and worker as processes, restarted when they end, killed at will."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


class Tier:
    """``python -m stream_processors ROLE``, started again whenever it ends, until closed."""

    def __init__(self, role: str, environment: Mapping[str, str], folder: Path) -> None:
        self.role = role
        self.log_path = folder / f"{role}-{environment['STREAM_INSTANCE']}.log"
        self._environment = {**os.environ, **environment}
        self._closing = threading.Event()
        self.n_starts = 0
        self._process = self._start()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def wait_for_log(self, text: str, timeout_s: float = 60.0, count: int = 1) -> None:
        deadline = time.monotonic() + timeout_s
        while self.log_path.read_text().count(text) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.role} did not say {text!r}:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self) -> str:
        return self.log_path.read_text()[-4000:]

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def stop_orderly(self, timeout_s: float = 15.0) -> int:
        """SIGTERM; the exit code."""
        self._closing.set()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout_s)

    def close(self) -> None:
        self._closing.set()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        self._thread.join(10)

    def _keep(self) -> None:
        while not self._closing.is_set():
            if self._process.poll() is not None:
                time.sleep(0.3)
                if not self._closing.is_set():
                    self._process = self._start()
            time.sleep(0.05)

    def _start(self) -> subprocess.Popen[bytes]:
        self.n_starts += 1
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "stream_processors", self.role],
                cwd=CHECKOUT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
