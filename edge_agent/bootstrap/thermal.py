"""The watch over heat, wired to what it may shed."""

from collections.abc import Callable

from edge_agent.adapters.telemetry import find_telemetry
from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.thermal import Shed, ThermalGovernor
from edge_agent.services.thermal_watch import ThermalWatch
from edge_agent.services.uplink import Uplink
from edge_agent.settings.platform import ThermalSettings
from wardstream.contracts.identity import Lane

_LANES = {Shed.STRIPS: Lane.STRIP, Shed.TRENDS: Lane.FRAME}


def make_thermal(
    settings: ThermalSettings, pipeline: BedPipeline, uplink: Callable[[], Uplink | None]
) -> ThermalWatch:
    """The watch, with nothing of it started.

    Parameters
    ----------
    settings : ThermalSettings
        At how many °C what is shed.
    pipeline : BedPipeline
        Asks the model half as often while `Shed.MODEL_HOP` holds.
    uplink : callable
        Keeps strips and frames in the outbox while theirs hold; None without a broker.
    """

    def apply(shed: frozenset[Shed]) -> None:
        pipeline.model_every = 2 if Shed.MODEL_HOP in shed else 1
        link = uplink()
        if link is not None:
            link.hold(frozenset(lane for what, lane in _LANES.items() if what in shed))

    return ThermalWatch(find_telemetry(), ThermalGovernor(thresholds(settings)), apply)


def thresholds(settings: ThermalSettings) -> dict[Shed, float]:
    """What is shed at how many °C, without what never is."""
    stated = {
        Shed.LIVE_VIEW: settings.live_view_celsius,
        Shed.STRIPS: settings.strips_celsius,
        Shed.TRENDS: settings.trends_celsius,
        Shed.MODEL_HOP: settings.model_hop_celsius,
    }
    return {shed: at for shed, at in stated.items() if at is not None}
