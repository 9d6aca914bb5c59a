"""Mosquitto: the machine's own, or the distribution's package unpacked without root."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.servers.account import Account, give, is_reachable, make_folder, service_account
from deploy.local.servers.cache import cache_folder, locked, make_readable
from deploy.local.servers.debian import PackageError, codename, private_apt
from deploy.local.servers.mosquitto_access import access_list, draw_passwords, password_file
from deploy.local.servers.ports import LOOPBACK, accepts_connections, free_port
from deploy.local.servers.program import LocalServer, Program
from wardstream.contracts.codec import MAX_MESSAGE_BYTES
from wardstream.contracts.errors import ConfigurationError

_OLDEST = (2, 0)  # MQTT v5 with the persistence format measured in libraries.md

# Autosave every second: what is younger dies with the broker, and the edge sends it again
# because no watermark covers it. Queues are bounded; what overflows is sent again as well.
_SETTINGS = f"""\
allow_anonymous false
persistence true
persistence_file mosquitto.db
autosave_interval 1
autosave_on_changes false
persistent_client_expiration 7d
max_inflight_messages 500
max_queued_messages 100000
max_queued_bytes 268435456
max_packet_size {MAX_MESSAGE_BYTES + 4096}
set_tcp_nodelay true
connection_messages true
log_dest stderr
log_timestamp_format %Y-%m-%dT%H:%M:%SZ
log_type error
log_type warning
log_type notice
"""


@dataclass(frozen=True, slots=True)
class MosquittoBinary:
    """A Mosquitto that runs here.

    Attributes
    ----------
    path : Path
        The program.
    library_path : str
        Folders of libraries it needs besides the system's, joined by colons.
    version : str
        As it says.
    origin : str
        ``installed`` or ``unpacked``, for the status line.
    """

    path: Path
    library_path: str
    version: str
    origin: str


def find_mosquitto() -> MosquittoBinary:
    """Mosquitto on the path, else unpacked into the cache (once).

    Raises
    ------
    ConfigurationError
        Neither is possible; the text says why and what to do.
    """
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    installed = shutil.which("mosquitto", path=search)
    if installed is not None:
        version = _version(Path(installed), "")
        if version is not None and _as_numbers(version) >= _OLDEST:
            return MosquittoBinary(Path(installed), "", version, "installed")
    name = f"mosquitto-{codename() or 'unknown'}-{os.uname().machine}"
    home = cache_folder() / name
    with locked(name):
        if not home.is_dir():
            try:
                _unpack(home)
            except PackageError as error:
                raise ConfigurationError(
                    [
                        (
                            f"no MQTT broker: Mosquitto is not installed and could not be unpacked "
                            f"({error}); install the package 'mosquitto', or set WARDSTREAM_MQTT_URL"
                        )
                    ]
                ) from error
    program, libraries = home / "usr/sbin/mosquitto", _library_path(home)
    version = _version(program, libraries)
    if version is None:
        raise ConfigurationError(
            [f"{program} does not run here; remove {home}, or install the package 'mosquitto'"]
        )
    return MosquittoBinary(program, libraries, version, "unpacked")


def _unpack(home: Path) -> None:
    building = home.with_name(f"{home.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        with private_apt(None) as apt:
            apt.update()
            apt.unpack(apt.missing("mosquitto"), building)
        if _version(building / "usr/sbin/mosquitto", _library_path(building)) is None:
            raise PackageError("the unpacked mosquitto does not run")
        make_readable(building)
        building.rename(home)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _library_path(home: Path) -> str:
    folders = {path.parent for path in home.rglob("*.so*")}
    return ":".join(str(folder) for folder in sorted(folders))


def _version(program: Path, library_path: str) -> str | None:
    try:
        told = subprocess.run(
            [program, "-h"],
            env={"LD_LIBRARY_PATH": library_path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,  # -h ends with 3
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"mosquitto version (\d+\.\d+\S*)", told)
    return None if found is None else found[1]


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


class MosquittoServer(LocalServer):
    """One broker with passwords, an access list and its state on disk."""

    def __init__(self, folder: Path, device_ids: Sequence[str], port: int | None = None) -> None:
        super().__init__()
        self._folder = folder
        self._device_ids = tuple(device_ids)
        self._account: Account | None = service_account()
        self._binary: MosquittoBinary | None = None
        self.port = port or free_port()

    @property
    def binary(self) -> MosquittoBinary:
        """What runs."""
        if self._binary is None:
            self._binary = find_mosquitto()
        return self._binary

    @property
    def passwords(self) -> dict[str, str]:
        """Password by user name, of services and devices."""
        path = self._folder / "passwords.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        return known

    def url(self, user: str) -> str:
        """``mqtt://`` address with the credentials of a service or device."""
        return f"mqtt://{user}:{self.passwords[user]}@{LOOPBACK}:{self.port}"

    def prepare(self) -> Program:
        """Draw passwords that are missing, write the configuration; say what to run."""
        if not is_reachable(self._folder, self._account):
            raise ConfigurationError(
                [
                    (
                        f"{self._folder} lies under a folder the account 'nobody' may not enter; "
                        "choose another"
                    )
                ]
            )
        make_folder(self._folder, self._account)
        self._write_credentials(draw_passwords(self.passwords, self._device_ids))
        folder = self._folder
        lines = [
            f"listener {self.port} {LOOPBACK}",
            f"password_file {folder}/broker-passwords",
            f"acl_file {folder}/access-list",
            f"persistence_location {folder}/",
        ]
        self._write("mosquitto.conf", _SETTINGS + "\n".join(lines) + "\n")
        return Program(
            name="mosquitto",
            argv=(str(self.binary.path), "-c", str(folder / "mosquitto.conf")),
            environment={"LD_LIBRARY_PATH": self.binary.library_path, "TZ": "UTC"},
            working_folder=folder,
            log_path=folder / "mosquitto.log",
            account=self._account,
            is_ready=lambda: accepts_connections(self.port),
            death_signal=signal.SIGTERM,  # so that it saves its state
            ready_deadline_s=15,
        )

    def add_devices(self, device_ids: Sequence[str]) -> None:
        """Give devices credentials while the broker runs; sessions stay."""
        self._write_credentials(draw_passwords(self.passwords, device_ids))
        self._reload()

    def remove_device(self, device_id: str) -> None:
        """Take a device's credentials away: it is refused from its next connection on."""
        kept = {user: word for user, word in self.passwords.items() if user != device_id}
        self._write_credentials(kept)
        self._reload()

    def _reload(self) -> None:
        if self.is_running:
            os.kill(self.pid, signal.SIGHUP)

    def _write_credentials(self, passwords: dict[str, str]) -> None:
        path = self._folder / "passwords.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(passwords))  # stays ours: the broker needs only the hashes
        self._write("broker-passwords", password_file(passwords))
        self._write("access-list", access_list())

    def _write(self, name: str, text: str) -> None:
        new = self._folder / f"{name}.new"
        new.write_text(text)
        give(new, self._account, mode=0o600)
        new.rename(self._folder / name)
