"""What every test may ask for."""

import os
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings; tests that need it are skipped where there is none."""
    folder = Path(os.environ.get("WARDSTREAM_DATA", _CHECKOUT.parent / "shared" / "data"))
    if not (folder / "mitdb").is_dir():
        pytest.skip(f"no recordings at {folder}; set WARDSTREAM_DATA")
    return folder
