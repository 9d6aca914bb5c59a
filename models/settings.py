"""Where everything is: the environment first, then the running stack's own account of itself."""

import getpass
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from models.datasets.cache import default_cache_dir
from wardstream.contracts.errors import ConfigurationError

STATE_DIR: Final = Path(".wardstream")
CHECKOUT: Final = Path(__file__).resolve().parents[1]
SHIPPED_BUNDLE: Final = Path(__file__).resolve().parent / "artifacts" / "rhythm"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsSettings:
    """What the commands of this tier need from outside.

    Attributes
    ----------
    data_dir : Path
        Recordings (``WARDSTREAM_DATA``, else ``../shared/data``).
    cache_dir : Path
        Windows and checkpoints (``WARDSTREAM_CACHE_DIR``, else the user's cache).
    repository_dir, keys_dir : Path
        Signed repository and its keys (``WARDSTREAM_MODEL_REPOSITORY_DIR``, ``_MODEL_KEYS_DIR``).
    site_id : str
        Whose fleet is told (``WARDSTREAM_SITE_ID``).
    database_url, mqtt_url : str or None
        Store and broker (``WARDSTREAM_DATABASE_URL``, ``WARDSTREAM_MQTT_URL``).
    author : str
        Who is acting: the login name.
    """

    data_dir: Path
    cache_dir: Path
    repository_dir: Path
    keys_dir: Path
    site_id: str
    database_url: str | None
    mqtt_url: str | None
    author: str


def load_settings(environment: Mapping[str, str], state_dir: Path = STATE_DIR) -> ModelsSettings:
    """Settings from `environment`; what it leaves open, from ``stack.json`` in `state_dir`.

    Raises
    ------
    ConfigurationError
        ``stack.json`` is there but cannot be read.
    """
    stack = read_stack(state_dir / "stack.json")

    def value(name: str) -> str | None:
        return environment.get(f"WARDSTREAM_{name}") or stack.get(f"WARDSTREAM_{name}")

    data = value("DATA")
    cache = value("CACHE_DIR")
    return ModelsSettings(
        data_dir=Path(data) if data else CHECKOUT.parent / "shared" / "data",
        cache_dir=Path(cache) / "models" if cache else default_cache_dir(),
        repository_dir=Path(value("MODEL_REPOSITORY_DIR") or state_dir / "models" / "repository"),
        keys_dir=Path(value("MODEL_KEYS_DIR") or state_dir / "models" / "keys"),
        site_id=value("SITE_ID") or "demo",
        database_url=value("DATABASE_URL"),
        mqtt_url=value("MQTT_URL"),
        author=environment.get("WARDSTREAM_AUTHOR") or _login_name(),
    )


def read_stack(path: Path) -> dict[str, str]:
    """What the stack at `path` says of itself, by the names of the environment variables.

    Both an ``environment`` table with those names and plain keys such as ``mqtt_url`` are read.

    Raises
    ------
    ConfigurationError
        The file is there but is no JSON object.
    """
    if not path.exists():
        return {}
    try:
        found: Any = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError([f"{path}: {error}"]) from error
    if not isinstance(found, dict):
        raise ConfigurationError([f"{path} is no JSON object"])
    stack = cast("dict[str, Any]", found)
    named = stack.get("environment", {})
    plain = {
        f"WARDSTREAM_{key.upper()}": text for key, text in stack.items() if isinstance(text, str)
    }
    if isinstance(named, dict):
        plain.update({str(k): str(v) for k, v in cast("dict[str, Any]", named).items()})
    return plain


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
