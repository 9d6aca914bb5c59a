"""Where a Chromium comes from, without fetching one."""

from pathlib import Path

import pytest

from deploy.local.chromium import PACKAGE_VERSION, find_chromium
from wardstream.contracts.errors import ConfigurationError


def _executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_named_one_goes_before_one_on_the_path(tmp_path: Path) -> None:
    named = _executable(tmp_path / "mine")
    _executable(tmp_path / "bin" / "chromium")
    environ = {"WARDSTREAM_CHROMIUM": str(named), "PATH": str(tmp_path / "bin")}
    assert find_chromium(environ) == named


def test_a_named_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="WARDSTREAM_CHROMIUM names"):
        find_chromium({"WARDSTREAM_CHROMIUM": str(tmp_path / "nowhere"), "PATH": ""})


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_one_on_the_path_is_taken(tmp_path: Path, name: str) -> None:
    present = _executable(tmp_path / "bin" / name)
    assert find_chromium({"PATH": str(present.parent)}) == present


def test_one_unpacked_earlier_is_taken_from_the_cache(tmp_path: Path) -> None:
    launcher = _executable(tmp_path / f"chromium-{PACKAGE_VERSION}" / "chromium-launcher")
    assert find_chromium({"PATH": "", "WARDSTREAM_CACHE_DIR": str(tmp_path)}) == launcher


def test_where_none_can_be_had_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    environ = {"PATH": str(tmp_path), "WARDSTREAM_CACHE_DIR": str(tmp_path / "cache")}
    with pytest.raises(ConfigurationError, match="apt-get install chromium"):
        find_chromium(environ)
