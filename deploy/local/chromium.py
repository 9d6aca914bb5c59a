"""A Chromium for the browser tests and the screenshots, with or without root.

In this order: `WARDSTREAM_CHROMIUM`, one on `PATH`, one unpacked earlier, else the build inside
the npm package `@sparticuz/chromium`, unpacked under the cache folder. Only test and
documentation tools use this; staff open the dashboard in whatever browser they have.
"""

import base64
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from wardstream.contracts.errors import ConfigurationError, ExitCode, TransientError

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

PACKAGE: Final = "@sparticuz/chromium"
PACKAGE_VERSION: Final = "147.0.0"
# The registry's own `dist.integrity` of that version.
PACKAGE_SHA512: Final = (
    "4ZKeAQQa8up2mt675qSitztLdbQrlf8BKdC5naeap+5Mv1OV1OlJdPoU+EJC/p5sQUJUQmN4r+q5+EhaaOUHpQ=="
)

FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""What a headless Chromium is started with: no sandbox (containers), no talk of its own."""

HELP: Final = (
    "No Chromium was found and none could be unpacked. Do one of these:\n"
    "  apt-get install chromium            (Debian, as root)\n"
    "  apt-get install npm                 (then it is unpacked without root, 68 MB)\n"
    "  export WARDSTREAM_CHROMIUM=/path/to/chromium"
)

_UNPACK_LIMIT_S: Final = 300

_BROTLI_IN_NODE: Final = (
    "const z=require('zlib'),f=require('fs');"
    "f.createReadStream(process.argv[1]).pipe(z.createBrotliDecompress())"
    ".pipe(f.createWriteStream(process.argv[2]))"
)


def find_chromium(environ: Mapping[str, str] | None = None) -> Path:
    """Path of a Chromium that starts here, unpacking one into the cache if need be.

    Parameters
    ----------
    environ : mapping of str to str or None
        Where `WARDSTREAM_CHROMIUM`, `WARDSTREAM_CACHE_DIR` and `PATH` are read; None means
        this process's own environment.

    Raises
    ------
    ConfigurationError
        `WARDSTREAM_CHROMIUM` names no file, or there is nothing to unpack one with.
    TransientError
        The package could not be fetched or is not the pinned one.
    """
    variables = os.environ if environ is None else environ
    if named := variables.get("WARDSTREAM_CHROMIUM"):
        if not Path(named).is_file():
            raise ConfigurationError([f"WARDSTREAM_CHROMIUM names {named}, which is no file"])
        return Path(named)
    for name in NAMES:
        if found := shutil.which(name, path=variables.get("PATH")):
            return Path(found)
    return _unpacked(cache_dir(variables) / f"chromium-{PACKAGE_VERSION}")


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Folder for what can be fetched again."""
    if chosen := environ.get("WARDSTREAM_CACHE_DIR"):
        return Path(chosen)
    return Path(environ.get("HOME") or Path.home()) / ".cache" / "wardstream"


def _unpacked(target: Path) -> Path:
    launcher = target / "chromium-launcher"
    if launcher.is_file():
        return launcher
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.parent / f"{target.name}.lock"):
        if not launcher.is_file():
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                built = Path(scratch) / "built"
                _unpack_package(_fetch_package(Path(scratch)), built)
                _write_launcher(built, target)
                shutil.rmtree(target, ignore_errors=True)
                built.rename(target)
    return launcher


@contextmanager
def _lock(path: Path) -> Generator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch_package(scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigurationError([HELP])
    command = [npm, "pack", "--silent", f"{PACKAGE}@{PACKAGE_VERSION}"]
    done = subprocess.run(
        command, cwd=scratch, capture_output=True, text=True, timeout=_UNPACK_LIMIT_S, check=False
    )
    archives = sorted(scratch.glob("*.tgz"))
    if done.returncode != 0 or not archives:
        raise TransientError(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}\n{HELP}")
    digest = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
    if digest != PACKAGE_SHA512:
        raise TransientError(f"{archives[0].name} has sha512 {digest}, not the pinned one")
    return archives[0]


def _unpack_package(archive: Path, built: Path) -> None:
    built.mkdir()
    with tarfile.open(archive) as package:
        package.extractall(built, filter="data")
    packed = built / "package" / "bin"
    _unbrotli(packed / "chromium.br", built / "chromium")
    (built / "chromium").chmod(0o755)
    for name, folder in (("al2023", "system"), ("swiftshader", "."), ("fonts", "fonts")):
        tar = built / f"{name}.tar"
        _unbrotli(packed / f"{name}.tar.br", tar)
        with tarfile.open(tar) as members:
            members.extractall(built / folder, filter="data")
        tar.unlink()
    shutil.rmtree(built / "package")


def _unbrotli(source: Path, destination: Path) -> None:
    node = shutil.which("node") or _node_of_playwright()
    if node is None:
        raise ConfigurationError([HELP])
    subprocess.run(
        [node, "-e", _BROTLI_IN_NODE, str(source), str(destination)],
        timeout=_UNPACK_LIMIT_S,
        check=True,
    )


def _node_of_playwright() -> str | None:
    spec = importlib.util.find_spec("playwright")
    if spec is None or spec.origin is None:
        return None
    node = Path(spec.origin).parent / "driver" / "node"
    return str(node) if node.is_file() else None


def _write_launcher(built: Path, target: Path) -> None:
    """A script that adds the package's libraries and fonts only where the machine lacks them."""
    lines = ["#!/bin/sh", "# Written by deploy/local/chromium.py."]
    if _libraries_missing(built / "chromium"):
        folder = _folder_holding(built / "system", "libnss3.so")
        at_home = target / folder.relative_to(built)
        lines.append(f'export LD_LIBRARY_PATH="{at_home}:$LD_LIBRARY_PATH"')
    if not Path("/etc/fonts/fonts.conf").is_file():
        folder = _folder_holding(built / "fonts", "fonts.conf")
        lines.append(f'export FONTCONFIG_PATH="{target / folder.relative_to(built)}"')
    lines.append(f'exec "{target / "chromium"}" "$@"')
    launcher = built / "chromium-launcher"
    launcher.write_text("\n".join(lines) + "\n")
    launcher.chmod(0o755)


def _libraries_missing(executable: Path) -> bool:
    listed = subprocess.run(
        ["ldd", str(executable)], capture_output=True, text=True, timeout=30, check=False
    )
    return "not found" in listed.stdout


def _folder_holding(root: Path, name: str) -> Path:
    found = sorted(root.rglob(name))
    if not found:
        raise TransientError(f"{PACKAGE} {PACKAGE_VERSION} holds no {name}")
    return found[0].parent


def main() -> int:
    """Print the path of a Chromium; for a `Makefile` or a person."""
    try:
        print(find_chromium())
    except (ConfigurationError, TransientError) as error:
        print(error, file=sys.stderr)
        return ExitCode.UNAVAILABLE
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
