"""Live drivers, made from their settings. A driver's library is imported when it is chosen."""

from collections.abc import Sequence

from edge_agent.adapters.drivers.inbox import Inbox
from edge_agent.adapters.drivers.live import Driver, LivePlan, LiveSource
from edge_agent.adapters.playback import Clocks
from edge_agent.settings.platform import PlatformSettings
from edge_agent.settings.sources import (
    Hl7Settings,
    LiveSettings,
    LslSettings,
    MqttNumericsSettings,
    SdcSettings,
    SerialSettings,
)


def live_source(
    settings: Sequence[LiveSettings],
    platform: PlatformSettings,
    device_id: str,
    boot_id: str,
    clocks: Clocks,
) -> LiveSource:
    """The devices of one bed as one source.

    Raises
    ------
    ConfigurationError
        A driver's library is not installed.
    """
    inbox = Inbox(clocks.wall_ns)
    drivers = [make_driver(section, inbox, device_id) for section in settings]
    codes = [
        channel.code
        for section in settings
        if isinstance(section, SerialSettings)
        for channel in section.channels
    ]
    plan = LivePlan(
        device_id=device_id,
        boot_id=boot_id,
        packet_ms=min(section.packet_ms for section in settings),
        codes=tuple(dict.fromkeys(codes)),
        max_channels=platform.max_channels,
        max_rate_hz=platform.max_rate_hz,
    )
    return LiveSource(drivers, inbox, plan, clocks)


def make_driver(settings: LiveSettings, inbox: Inbox, device_id: str) -> Driver:
    """The driver of one section.

    Raises
    ------
    ConfigurationError
        Its library is not installed.
    """
    if isinstance(settings, Hl7Settings):
        from edge_agent.adapters.drivers.mllp import MllpDriver, MllpPlan

        return MllpDriver(MllpPlan(**settings.model_dump(exclude={"kind", "packet_ms"})), inbox)
    if isinstance(settings, SerialSettings):
        return _serial(settings, inbox)
    if isinstance(settings, LslSettings):
        from edge_agent.adapters.drivers.lsl import LslChannel, LslDriver, LslPlan

        channels = tuple(LslChannel(**channel.model_dump()) for channel in settings.channels)
        lsl = LslPlan(source_id=settings.source_id, resolve_s=settings.resolve_s, channels=channels)
        return LslDriver(lsl, inbox)
    if isinstance(settings, SdcSettings):
        from edge_agent.adapters.drivers.sdc import SdcDriver, SdcPlan

        return SdcDriver(SdcPlan(**settings.model_dump(exclude={"kind", "packet_ms"})), inbox)
    return _mqtt(settings, inbox, device_id)


def _serial(settings: SerialSettings, inbox: Inbox) -> Driver:
    from edge_agent.adapters.drivers.serial_front_end import (
        SerialChannel,
        SerialDriver,
        SerialPlan,
    )

    plan = SerialPlan(
        port=settings.port,
        baud_rate=settings.baud_rate,
        sampling_rate_hz=settings.sampling_rate_hz,
        channels=tuple(SerialChannel(**channel.model_dump()) for channel in settings.channels),
    )
    return SerialDriver(plan, inbox)


def _mqtt(settings: MqttNumericsSettings, inbox: Inbox, device_id: str) -> Driver:
    from edge_agent.adapters.drivers.mqtt_numerics import MqttNumericsDriver, MqttNumericsPlan
    from edge_agent.settings.sources import broker_address, broker_credentials

    host, port, tls = broker_address(settings.url)
    username, password = broker_credentials(settings.url)
    plan = MqttNumericsPlan(
        host=host,
        port=port,
        tls=tls,
        topic=settings.topic,
        client_id=f"wardstream-numerics-{device_id}",
        username=username,
        password=password,
        authority=settings.authority,
    )
    return MqttNumericsDriver(plan, inbox)
