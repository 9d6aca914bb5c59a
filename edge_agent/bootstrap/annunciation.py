"""Sound, light and the authority to keep them quiet, wired from the settings."""

import asyncio
import logging
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edge_agent.core.outbox_port import Outbox
from edge_agent.core.ports import Measurements
from edge_agent.services.bedside import Bedside
from edge_agent.services.commands import CommandDesk
from edge_agent.services.leases import LeaseWatch
from edge_agent.services.model_updater import ModelUpdater
from edge_agent.services.sounder import Light, Player, Sounder
from edge_agent.settings import EdgeSettings
from wardstream.alerting.bed_alerts import Holder
from wardstream.alerting.leases import Leases
from wardstream.alerting.state import Alert

logger = logging.getLogger(__name__)


def make_sounder(settings: EdgeSettings, standing: Iterable[Alert]) -> Sounder:
    """Sound and light for the bed; `standing` is what the last life of the agent left.

    Raises
    ------
    ConfigurationError
        The light's library or pins cannot be had.
    """
    wanted = settings.annunciation
    player: Player | None = None
    if wanted.sound_command is not None:
        from edge_agent.adapters.sound import CommandPlayer

        player = CommandPlayer(shlex.split(wanted.sound_command))
    light: Light | None = None
    if wanted.light_red_pin is not None and wanted.light_yellow_pin is not None:
        from edge_agent.adapters.light import GpioLight

        light = GpioLight(wanted.light_red_pin, wanted.light_yellow_pin, wanted.light_library)
    return Sounder(player, light, time.monotonic, standing)


@dataclass(frozen=True, slots=True)
class Authority:
    """Who may keep the bed quiet.

    Attributes
    ----------
    desk : CommandDesk
        Takes orders.
    watch : LeaseWatch
        Service that notices when a station is gone.
    is_signed : callable or None
        Whether a trusted key signed an order; None: no key is trusted.
    holders : callable
        Who is proven to be at a station now.
    """

    desk: CommandDesk
    watch: LeaseWatch
    is_signed: Callable[[object], bool] | None
    holders: Callable[[], frozenset[Holder]]


def make_authority(
    settings: EdgeSettings,
    boot_id: str,
    loop: asyncio.AbstractEventLoop,
    outbox: Outbox,
    bedside: Bedside,
    updater: ModelUpdater,
    measurements: Measurements,
) -> Authority:
    """The way of orders to the bed.

    Raises
    ------
    ConfigurationError
        The trusted key cannot be read.
    """
    is_signed: Callable[[object], bool] | None = None
    if settings.orders_key is not None:
        from edge_agent.adapters.signatures import OrderVerifier

        is_signed = OrderVerifier(settings.orders_key)
    elif settings.mqtt is not None:
        logger.info("no key is trusted: nothing can make this bed quiet (EDGE_ORDERS_KEY)")
    leases = Leases(settings.device_id, boot_id)
    watch = LeaseWatch(leases, bedside, time.monotonic_ns, measurements)
    desk = CommandDesk(loop, outbox, bedside, updater, measurements, is_signed, watch)
    return Authority(desk, watch, is_signed, lambda: leases.holders(time.monotonic_ns()))
