"""Under whose name a server runs: ours, or an unprivileged one where we are root.

PostgreSQL refuses to run as root, and nothing that listens should.
"""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wardstream.contracts.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Account:
    """A uid and gid to run under."""

    uid: int
    gid: int


def service_account() -> Account | None:
    """Account for servers: None (our own) unless we are root.

    Raises
    ------
    ConfigurationError
        We are root and the machine has no account ``nobody``, or we are a uid that has no
        account at all, which PostgreSQL refuses.
    """
    uid = os.geteuid()
    if uid != 0:
        try:
            pwd.getpwuid(uid)
        except KeyError as error:
            raise ConfigurationError(
                [f"uid {uid} has no account on this machine, and PostgreSQL wants one; add it"]
            ) from error
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise ConfigurationError(
            ["started by root, but there is no account 'nobody' to run the servers under"]
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)


def is_reachable(path: Path, account: Account | None) -> bool:
    """Whether `account` may enter every folder above `path` and read `path` itself."""
    if account is None:
        return True
    resolved = path.resolve()
    folders = all(_allows(parent, account, stat.S_IXOTH) for parent in resolved.parents)
    return folders and _allows(resolved, account, stat.S_IROTH)


def _allows(path: Path, account: Account, others_bit: int) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return True  # not made yet: it will be made for the account
    if status.st_uid == account.uid:
        return bool(status.st_mode & (others_bit << 6))
    return bool(status.st_mode & others_bit)


def give(path: Path, account: Account | None, *, mode: int) -> None:
    """Make `path` (a file or folder) belong to `account`, with permission bits `mode`."""
    path.chmod(mode)
    if account is not None:
        os.chown(path, account.uid, account.gid)


def make_folder(path: Path, account: Account | None) -> Path:
    """`path` as a folder only `account` may read; made if need be."""
    path.mkdir(parents=True, exist_ok=True)
    give(path, account, mode=0o700)
    return path


@contextmanager
def scratch_folder(account: Account | None, prefix: str) -> Generator[Path]:
    """A temporary folder of `account`, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        give(folder, account, mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
