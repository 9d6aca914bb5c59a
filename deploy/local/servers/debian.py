"""Packages of the machine's own distribution, fetched and unpacked without root.

apt works in private folders here, with the sources, keys and proxies the machine already
uses: what it fetches is checked against the distribution's signature as always.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local.servers.cache import cache_folder
from wardstream.contracts.errors import TransientError

_SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))


class PackageError(TransientError):
    """A package could not be fetched or unpacked; the text says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """One archive of the machine's own apt sources.

    Attributes
    ----------
    uri : str
        Base address.
    suites : tuple of str
        Its suites, for example ``bookworm`` and ``bookworm-updates``.
    signed_by : str
        Key ring that must have signed it; empty for apt's trusted ones.
    """

    uri: str
    suites: tuple[str, ...]
    signed_by: str


def parse_classic(text: str) -> list[Source]:
    """Sources of a one-line-style ``.list`` file."""
    found: list[Source] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if not words or words[0] != "deb":
            continue
        signed_by = ""
        if len(words) > 1 and words[1].startswith("["):
            end = next((i for i, word in enumerate(words) if word.endswith("]")), 0)
            options = " ".join(words[1 : end + 1]).strip("[]").split()
            signed_by = next((o[10:] for o in options if o.startswith("signed-by=")), "")
            words = [words[0], *words[end + 1 :]]
        if len(words) >= 3:
            found.append(Source(words[1], (words[2],), signed_by))
    return found


def parse_deb822(text: str) -> list[Source]:
    """Sources of a ``.sources`` file."""
    found: list[Source] = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in "\n".join(lines).split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in {"no", "false"}:
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        suites = tuple(fields.get("suites", "").split())
        signed_by = fields.get("signed-by", "")
        signed_by = "" if "\n" in signed_by else signed_by  # a key in place, not a path
        found.extend(Source(uri, suites, signed_by) for uri in fields.get("uris", "").split())
    return found


def machine_sources() -> list[Source]:
    """Every enabled archive apt knows on this machine."""
    single, folder = _SOURCES
    classic = [single, *sorted(folder.glob("*.list"))]
    found = [s for path in classic if path.is_file() for s in parse_classic(path.read_text())]
    for path in sorted(folder.glob("*.sources")):
        found.extend(parse_deb822(path.read_text()))
    return found


def codename() -> str:
    """Code name of this distribution's release, for example ``bookworm``; empty if unknown."""
    return _os_release().get("VERSION_CODENAME", "")


def is_debian() -> bool:
    """Whether this is Debian itself (not a distribution made from it)."""
    return _os_release().get("ID", "") == "debian"


def _os_release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: value.strip('"') for key, _, value in pairs}


def main_archive() -> Source:
    """The archive this Debian's own release comes from.

    Raises
    ------
    PackageError
        There is none, or this is not Debian.
    """
    if not is_debian():
        raise PackageError("this machine is not Debian")
    for source in machine_sources():
        if codename() in source.suites:
            return source
    raise PackageError(f"apt on this machine knows no archive of Debian {codename()}")


class PrivateApt:
    """apt in a folder of our own; `sources` None means the machine's own, all of them."""

    def __init__(self, folder: Path, sources: Sequence[str] | None) -> None:
        self._folder = folder
        self._has_own_sources = sources is not None
        for name in ("lists/partial", "cache/archives/partial", "debs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        lines = [
            f'Dir::State::Lists "{folder}/lists";',
            f'Dir::Cache "{folder}/cache";',
            'APT::Sandbox::User "root";',
            'Acquire::Languages "none";',
            'Acquire::Retries "2";',
            'Acquire::http::Timeout "15";',
            'Acquire::https::Timeout "15";',
        ]
        if sources is not None:
            (folder / "sources.list").write_text("".join(f"{line}\n" for line in sources))
            lines.append(f'Dir::Etc::SourceList "{folder}/sources.list";')
            lines.append('Dir::Etc::SourceParts "/dev/null";')
        (folder / "apt.conf").write_text("".join(f"{line}\n" for line in lines))

    def update(self) -> None:
        """Fetch the package lists.

        Raises
        ------
        PackageError
            apt could not.
        """
        # Of the machine's own sources one may be dead without harm; of ours none may.
        strict = ["--error-on=any"] if self._has_own_sources else []
        self._run("apt-get", "update", "-q", *strict)

    def missing(self, package: str) -> list[str]:
        """`package` and the libraries of its closure that are not installed here."""
        plan = self._run("apt-get", "install", "-s", "-q", "--no-install-recommends", package)
        names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
        return [name for name in names if name == package or name.startswith("lib")]

    def unpack(self, packages: Sequence[str], target: Path) -> None:
        """Fetch `packages` and unpack them into `target`, running none of their scripts.

        Raises
        ------
        PackageError
            One could not be had.
        """
        debs = self._folder / "debs"
        self._run("apt-get", "download", "-q", *packages, folder=debs)
        for deb in sorted(debs.glob("*.deb")):
            self._run("dpkg", "-x", str(deb), str(target))

    def _run(self, *argv: str, folder: Path | None = None) -> str:
        if shutil.which(argv[0]) is None:
            raise PackageError(f"there is no {argv[0]} on this machine")
        try:
            done = subprocess.run(
                argv,
                env={
                    **os.environ,
                    "APT_CONFIG": str(self._folder / "apt.conf"),
                    "LC_ALL": "C",
                    "DEBIAN_FRONTEND": "noninteractive",
                },
                cwd=folder or self._folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PackageError(
                f"{' '.join(argv[:2])} took longer than {error.timeout:.0f} s"
            ) from error
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            told = next((line for line in lines if line.startswith("E:")), "".join(lines[-1:]))
            raise PackageError(f"{' '.join(argv[:2])}: {told}")
        return done.stdout


@contextmanager
def private_apt(sources: Sequence[str] | None) -> Generator[PrivateApt]:
    """A `PrivateApt` in a folder of the cache that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="apt-", dir=cache_folder()))
    try:
        yield PrivateApt(folder, sources)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
