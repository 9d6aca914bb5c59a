"""Where unpacked servers are kept between runs, and the lock that lets one process unpack."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.local.servers.account import Account, is_reachable
from wardstream.contracts.errors import ConfigurationError


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Folder for unpacked servers, made if need be.

    ``WARDSTREAM_CACHE_DIR`` where it is set; ``/var/cache/wardstream`` for root (whose home
    the unprivileged servers could not enter); else ``$XDG_CACHE_HOME/wardstream``.
    """
    environment = os.environ if environment is None else environment
    chosen = environment.get("WARDSTREAM_CACHE_DIR")
    if chosen:
        folder = Path(chosen).absolute()
    elif os.geteuid() == 0:
        folder = Path("/var/cache/wardstream")
    else:
        home = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "wardstream"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(name: str) -> Generator[None]:
    """Hold the cache's lock `name`: of several processes one unpacks, the others wait for it."""
    with (cache_folder() / f"{name}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def reachable_copy(home: Path, witness: str, account: Account | None) -> Path:
    """`home` itself if `account` can read `witness` in it, else a copy in the cache.

    A virtual environment under ``/root``, for example, can be entered by nobody else.

    Raises
    ------
    ConfigurationError
        The cache cannot be entered either.
    """
    if is_reachable(home / witness, account):
        return home
    key = hashlib.sha256(f"{home.resolve()}{(home / witness).stat().st_mtime_ns}".encode())
    target = cache_folder() / f"{home.name}-{key.hexdigest()[:12]}"
    with locked(target.name):
        if not target.is_dir():
            building = target.with_name(f"{target.name}.building")
            shutil.rmtree(building, ignore_errors=True)
            shutil.copytree(home, building, symlinks=True)
            make_readable(building)
            building.rename(target)
    if not is_reachable(target / witness, account):
        raise ConfigurationError(
            [
                (
                    f"the account 'nobody' may not enter {target}; set WARDSTREAM_CACHE_DIR to a "
                    "folder that everyone may read"
                )
            ]
        )
    return target


def make_readable(folder: Path) -> None:
    """Let everyone read `folder` and all in it, and run what its owner may run."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            runs = path.is_dir() or bool(path.stat().st_mode & 0o100)
            path.chmod(0o755 if runs else 0o644)
