"""`doctor`: everything a bed depends on, looked at once, each with what to do about it."""

import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Final

from edge_agent.adapters.machine_checks import (
    check_clock,
    check_disk,
    check_kernel_cache,
    check_memory,
    check_outbox,
    check_permissions,
    check_time_zone,
)
from edge_agent.adapters.model_store import ModelStore
from edge_agent.adapters.state_lock import StateLock
from edge_agent.core.checkup import Check, failed, passed, warned
from edge_agent.core.outbox_port import StorageError
from edge_agent.core.ports import UnreadableSourceError
from edge_agent.settings import EdgeSettings
from edge_agent.settings.sources import EdfSettings, SimulatorSettings, WfdbSettings
from wardstream.contracts.errors import WardstreamError
from wardstream.inference.port import ModelRefusedError

_LIBRARIES: Final = {
    "wfdb": "wfdb",
    "edf": "edfio",
    "sdc": "sdc11073",
    "lsl": "pylsl",
    "serial": "serial",
    "mllp": "hl7",
}
"""What a kind of source needs beyond the agent itself."""


def examine(settings: EdgeSettings) -> Iterator[Check]:
    """Every check in turn; a check that itself fails is a failure, never an end."""
    now = datetime.now(UTC)
    wanted_bytes = settings.outbox.max_bytes + settings.ring.max_bytes
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("source", lambda: _check_source(settings)),
        ("model", lambda: _check_model(settings)),
        ("kernel cache", check_kernel_cache),
        ("disk", lambda: check_disk(settings.state_dir, wanted_bytes)),
        ("outbox", lambda: check_outbox(settings.state_dir)),
        ("permissions", lambda: check_permissions(settings.state_dir)),
        ("other agent", lambda: _check_lock(settings)),
        ("memory", check_memory),
        ("clock", check_clock),
        ("time zone", check_time_zone),
        ("alert command", lambda: _check_hook(settings)),
        *_network_checks(settings, now),
    ]
    for name, check in checks:
        try:
            yield check()
        except Exception as error:  # noqa: BLE001 - one line must not cost the others
            yield failed(name, f"the check itself failed: {error!r}", "tell the developers")


def _network_checks(
    settings: EdgeSettings, now: datetime
) -> Sequence[tuple[str, Callable[[], Check]]]:
    from edge_agent.adapters.network_checks import (
        check_broker,
        check_broker_certificate,
        check_root,
    )

    root = ("model root of trust", lambda: check_root(settings.model.trusted_root, now))
    if settings.mqtt is None:
        alone = warned("broker", "none is set", "without EDGE_MQTT__URL the bed alarms alone")
        return (("broker", lambda: alone), root)
    from edge_agent.bootstrap.network import broker_of

    broker = broker_of(settings, settings.mqtt)
    return (
        ("broker", lambda: check_broker(broker)),
        ("broker certificate", lambda: check_broker_certificate(broker, now)),
        root,
    )


def _check_source(settings: EdgeSettings) -> Check:
    source, kind = settings.source, settings.source.kind
    library = _LIBRARIES.get(kind)
    if library is not None and find_spec(library) is None:
        return failed(
            "source", f"{kind} needs {library}", "install it: pip install 'wardstream[drivers]'"
        )
    if not isinstance(source, WfdbSettings | EdfSettings | SimulatorSettings):
        return passed("source", f"{kind}; what it speaks to is asked when the bed starts")
    from edge_agent.bootstrap.sources import open_reader

    try:
        reader = open_reader(source)
    except UnreadableSourceError as error:
        return failed("source", str(error), "set EDGE_SOURCE__RECORD to a recording that is there")
    except WardstreamError as error:
        return failed("source", str(error), "see `python -m edge_agent settings`")
    found = f"{reader.description}"
    if reader.quarantined:
        names = ", ".join(f"{c.channel} ({c.reason})" for c in reader.quarantined)
        return warned("source", f"{found}; not judged: {names}", "see units and codes there")
    return passed("source", found)


def _check_model(settings: EdgeSettings) -> Check:
    from edge_agent.services.model_updater import Qualifier

    bundle = ModelStore(settings.state_dir).current() or settings.model.bundle_dir
    try:
        runtime = Qualifier(settings.model.backend, settings.model.latency_budget_ms)(bundle)
    except ModelRefusedError as error:
        return failed(
            "model",
            f"{bundle} may not judge here: {error}",
            "install a model that qualifies; until then the rules alarm alone",
        )
    return passed("model", f"version {runtime.manifest.version} of {bundle} qualified here")


def _check_lock(settings: EdgeSettings) -> Check:
    if not settings.state_dir.is_dir():
        return passed("other agent", "none")
    try:
        with StateLock(settings.state_dir):
            return passed("other agent", f"none uses {settings.state_dir}")
    except StorageError as error:
        return warned("other agent", str(error), "fine if it is the bed's own; else stop one")


def _check_hook(settings: EdgeSettings) -> Check:
    if settings.hook_command is None:
        return passed("alert command", "none is set")
    program = shlex.split(settings.hook_command)[0]
    if shutil.which(program) is None:
        return failed(
            "alert command", f"there is no program {program}", "correct EDGE_HOOK_COMMAND"
        )
    return passed("alert command", program)
