"""The environment each tier's process gets: the fixed names of DESIGN section 6 and nothing stray."""

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from deploy.local.beds import Performance
from deploy.local.layout import CHECKOUT, StateFolder, write_private

SITE_ID = "demo"
UNIT_ID = "icu"

_TIERS = ("EDGE_", "STREAM_", "CLOUD_", "WARDSTREAM_")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is drawn once for a state folder and kept in it, mode 0600."""

    session_secret: str
    admin_password: str
    nurse_password: str


def load_secrets(folder: StateFolder) -> Secrets:
    """The secrets of `folder`, drawn now if it has none."""
    path = folder.secrets_file
    if path.is_file():
        return msgspec.json.decode(path.read_bytes(), type=Secrets)
    drawn = Secrets(
        session_secret=secrets.token_urlsafe(48),
        admin_password=_readable_password(),
        nurse_password=_readable_password(),
    )
    folder.path.mkdir(parents=True, exist_ok=True)
    write_private(path, msgspec.json.encode(asdict(drawn)).decode())
    return drawn


def _readable_password() -> str:
    # 16 letters and digits without look-alikes in four groups: 79 bits, typed by hand once.
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where everything is.

    Attributes
    ----------
    database_url, kafka_bootstrap : str
        For every tier.
    mqtt_urls : mapping of str to str
        By user: services and devices, each with its own password.
    api_port : int
        Of the API and dashboard, on loopback.
    repository_dir, keys_dir : Path
        Of the signed model repository.
    orders_key, orders_public_key : Path
        With which the API signs what beds obey, and what they check it with.
    """

    database_url: str
    kafka_bootstrap: str
    mqtt_urls: Mapping[str, str]
    api_port: int
    repository_dir: Path
    keys_dir: Path
    orders_key: Path
    orders_public_key: Path

    @property
    def api_url(self) -> str:
        """Base address of API and dashboard."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def trusted_root(self) -> Path:
        """The model repository's first root, which devices are given by hand."""
        return self.repository_dir / "metadata" / "1.root.json"


def common() -> dict[str, str]:
    """Our own environment without any variable of a tier's, be it ours or a stranger's.

    A tier refuses variables with its prefix that it does not know, and other software uses
    such prefixes too (``CLOUD_SDK_VERSION``). Numeric libraries get one thread each: many
    processes share few cores here.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_TIERS)}
    defaults = {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "NUMBA_CACHE_DIR": str(_numba_cache()),
        "PYTHONUNBUFFERED": "1",
    }
    return {**defaults, **kept}


def _numba_cache() -> Path:
    beside = Path(sys.prefix) / "numba-cache"
    return beside if os.access(sys.prefix, os.W_OK) else CHECKOUT / ".wardstream" / "numba-cache"


def edge(
    number: int, addresses: Addresses, performance: Performance, bed_state: Path, metrics_port: int
) -> dict[str, str]:
    """Of the agent at bed `number`."""
    device_id = device_id_of(number)
    model = {
        "EDGE_MODEL__REPOSITORY_URL": f"{addresses.api_url}/models",
        "EDGE_MODEL__TRUSTED_ROOT": str(addresses.trusted_root),
    }
    return {
        **common(),
        **(model if addresses.trusted_root.is_file() else {}),
        "EDGE_SITE_ID": SITE_ID,
        "EDGE_UNIT_ID": UNIT_ID,
        "EDGE_BED_ID": bed_id_of(number),
        "EDGE_DEVICE_ID": device_id,
        "EDGE_STATE_DIR": str(bed_state),
        "EDGE_GENERATION_MODE": "demo",  # nobody lies in this bed, whatever it plays
        "EDGE_MQTT__URL": addresses.mqtt_urls[device_id],
        "EDGE_ORDERS_KEY": str(addresses.orders_public_key),
        "EDGE_METRICS_PORT": str(metrics_port),
        **performance.settings(),
    }


def stream(role: str, addresses: Addresses, state: Path) -> dict[str, str]:
    """Of the stream tier's process `role`: ``bridge`` or ``worker``."""
    return {
        **common(),
        "STREAM_DATABASE_URL": addresses.database_url,
        "STREAM_MQTT_URL": addresses.mqtt_urls[role],
        "STREAM_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
        "STREAM_STATE_DIR": str(state),
        "STREAM_INSTANCE": f"{role}-1",
    }


def cloud(addresses: Addresses, drawn: Secrets) -> dict[str, str]:
    """Of the API."""
    return {
        **common(),
        "CLOUD_DATABASE_URL": addresses.database_url,
        "CLOUD_MQTT_URL": addresses.mqtt_urls["cloud"],
        "CLOUD_HTTP_HOST": "127.0.0.1",
        "CLOUD_HTTP_PORT": str(addresses.api_port),
        "CLOUD_SESSION_SECRET": drawn.session_secret,
        "CLOUD_MODEL_REPOSITORY_DIR": str(addresses.repository_dir),
        "CLOUD_ORDERS_KEY": str(addresses.orders_key),
        "CLOUD_ADMIN_PASSWORD": drawn.admin_password,
        "CLOUD_DEMO_NURSE_PASSWORD": drawn.nurse_password,
    }


def operator(addresses: Addresses, data: Path | None, state: Path) -> dict[str, str]:
    """What the hand-over commands need to find this stack, by the names of their settings."""
    found = {
        "WARDSTREAM_DATABASE_URL": addresses.database_url,
        "WARDSTREAM_MQTT_URL": addresses.mqtt_urls["ops"],
        "WARDSTREAM_MODEL_REPOSITORY_DIR": str(addresses.repository_dir),
        "WARDSTREAM_MODEL_KEYS_DIR": str(addresses.keys_dir),
        "WARDSTREAM_SITE_ID": SITE_ID,
        "STREAM_DATABASE_URL": addresses.database_url,
        "STREAM_MQTT_URL": addresses.mqtt_urls["worker"],
        "STREAM_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
        "STREAM_STATE_DIR": str(state / "stream"),
        "STREAM_INSTANCE": "operator",
    }
    return found if data is None else {**found, "WARDSTREAM_DATA": str(data)}


def bed_id_of(number: int) -> str:
    """Bed `number`, from 1."""
    return f"bed-{number:02}"


def device_id_of(number: int) -> str:
    """The monitor at bed `number`."""
    return f"monitor-{number:02}"
