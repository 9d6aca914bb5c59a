"""Temperature, throttling and power: jetson-stats where it is, Linux's own files else."""

import logging
import math
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from edge_agent.core.thermal import Telemetry, TelemetryReading

logger = logging.getLogger(__name__)

SYS: Final = Path("/sys")

_RASPBERRY_THROTTLED: Final = "devices/platform/soc/soc:firmware/get_throttled"
_RASPBERRY_NOW: Final = 0b1110  # frequency capped, throttled, soft temperature limit
_COOLS_BY_SLOWING: Final = ("cpu", "gpu", "processor", "thermal-cpufreq", "thermal-devfreq")


class SysTelemetry:
    """``/sys/class/thermal``: the hottest zone, and cooling that works by slowing down.

    Parameters
    ----------
    root : Path
        Where ``/sys`` is.
    """

    def __init__(self, root: Path = SYS) -> None:
        self._root = root

    @property
    def name(self) -> str:
        """``sysfs``."""
        return "sysfs"

    def read(self) -> TelemetryReading:
        """The hottest zone now."""
        zones = [
            value / 1000
            for zone in sorted(self._root.glob("class/thermal/thermal_zone*/temp"))
            if not math.isnan(value := _number(zone)) and value / 1000 < 200  # unpowered zones lie
        ]
        return TelemetryReading(max(zones, default=math.nan), self._is_slowed(), math.nan)

    def _is_slowed(self) -> bool:
        stated = _text(self._root / _RASPBERRY_THROTTLED)
        try:
            if stated and int(stated, 16) & _RASPBERRY_NOW:
                return True
        except ValueError:
            logger.debug("get_throttled says %r", stated)
        return any(
            _text(device / "type").lower().startswith(_COOLS_BY_SLOWING)
            and _number(device / "cur_state") > 0
            for device in self._root.glob("class/thermal/cooling_device*")
        )


class JetsonTelemetry:
    """jetson-stats (`jtop`), whose service must run on the device.

    Raises
    ------
    RuntimeError
        The service does not answer.
    """

    def __init__(self, jtop: Any, fallback: SysTelemetry) -> None:
        self._fallback = fallback
        try:
            self._jtop = jtop.jtop()
            self._jtop.start()
        except Exception as error:
            raise RuntimeError(f"jetson-stats does not answer: {error}") from error

    @property
    def name(self) -> str:
        """``jetson-stats``."""
        return "jetson-stats"

    def read(self) -> TelemetryReading:
        """What jtop last heard; the kernel's files where it says nothing."""
        beside = self._fallback.read()
        try:
            zones = [
                float(zone["temp"])
                for zone in self._jtop.temperature.values()
                if zone.get("online", True) and float(zone["temp"]) > -200
            ]
            watts = float(self._jtop.power["tot"]["power"]) / 1000
        except (KeyError, TypeError, ValueError, AttributeError):
            return beside
        return TelemetryReading(max(zones, default=beside.celsius), beside.throttled, watts)


def find_telemetry(root: Path = SYS) -> Telemetry:
    """jetson-stats if it is installed and answers, else the kernel's files."""
    plain = SysTelemetry(root)
    try:
        return JetsonTelemetry(import_module("jtop"), plain)
    except ImportError:
        return plain
    except RuntimeError as error:
        logger.warning("%s; temperatures come from %s", error, plain.name)
        return plain


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # a zone that is powered down refuses to be read
        return ""


def _number(path: Path) -> float:
    try:
        return float(_text(path))
    except ValueError:
        return math.nan
