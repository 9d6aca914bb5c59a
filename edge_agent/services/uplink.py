"""The thread that sends, and what it does with what comes in."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Self

from edge_agent.core.outbox_port import Outbox
from edge_agent.core.ports import Delivery, Link, LinkEvent, LinkHandlers, Measurements
from edge_agent.services.sender import Sender
from wardstream.contracts import topics
from wardstream.contracts.alert import AcknowledgeCommand, AlertEvent
from wardstream.contracts.authority import PatientLimitsCommand, SilenceCommand, StationLease
from wardstream.contracts.codec import decode
from wardstream.contracts.device import ModelCommand
from wardstream.contracts.errors import ContractError, RefusedError
from wardstream.contracts.identity import CommitWatermark, Lane
from wardstream.contracts.live import LiveViewCommand
from wardstream.contracts.topics import FLEET, parse_address

logger = logging.getLogger(__name__)

Command = (
    AcknowledgeCommand
    | SilenceCommand
    | StationLease
    | PatientLimitsCommand
    | LiveViewCommand
    | ModelCommand
)
OnCommand = Callable[[Command, Callable[[], None]], None]
"""Called on the uplink's thread with a command and how to accept it."""

LAST_WORD_S: Final = 1.5


class Uplink:
    """Sends what the outbox holds, hears watermarks and commands. Has a thread of its own.

    Parameters
    ----------
    link : Link
        Connection to the broker.
    outbox : Outbox
        What is sent, and freed by watermarks.
    site_id, device_id : str
        Of the topics.
    on_command : callable
        Gets every well-formed command for this device.
    last_word : callable
        Encoded status that says goodbye.
    measurements : Measurements
        Counters.
    unstored_alerts : callable
        Alerts that a failing disk refuses.
    """

    name = "uplink"

    def __init__(
        self,
        link: Link,
        outbox: Outbox,
        site_id: str,
        device_id: str,
        *,
        on_command: OnCommand,
        last_word: Callable[[], bytes],
        measurements: Measurements,
        unstored_alerts: Callable[[], Sequence[AlertEvent]] = tuple,
    ) -> None:
        self._link = link
        self._site_id = site_id
        self._device_id = device_id
        self._on_command = on_command
        self._last_word = last_word
        self._measurements = measurements
        self._sender = Sender(outbox, link, site_id, device_id, measurements, unstored_alerts)
        self._inbox: deque[Callable[[float], None]] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._connected_before = False
        self._thread = threading.Thread(target=self._send_all, name="uplink", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the broker answers."""
        return self._link.connected

    def wake(self) -> None:
        """There is something new to send."""
        self._wake.set()

    def say(self, status: bytes) -> None:
        """Publish `status` as the device's retained heartbeat."""
        self._post(lambda _: self._sender.say(status))

    def show(self, curves: bytes) -> bool:
        """Send what a live view shows, now or never; False: left out. From any thread."""
        return self._link.publish_once(topics.LIVE.address(self._site_id, self._device_id), curves)

    def hold(self, lanes: frozenset[Lane]) -> None:
        """Let `lanes` wait in the outbox: a hot device sends alerts alone."""
        self._post(lambda _: self._sender.hold(lanes))
        self.wake()

    async def __aenter__(self) -> Self:
        handlers = LinkHandlers(
            on_event=lambda event: self._post(lambda _: self._heard_of_link(event)),
            on_published=lambda message_id, taken: self._post(
                lambda _: self._sender.published(message_id, taken=taken)
            ),
            on_delivery=lambda delivery: self._post(lambda now_s: self._deliver(delivery, now_s)),
        )
        self._link.start(handlers, self._subscriptions())
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, LAST_WORD_S + 1.0)
        await asyncio.to_thread(self._link.stop, 1.0)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch over both threads until `stop`."""
        while not stop.is_set():
            if not self._thread.is_alive():
                raise RuntimeError("the thread that sends has died")
            if not self._link.is_alive():
                logger.error("the link's own thread has died; starting it anew")
                self._post(self._begin_anew)
            await asyncio.sleep(0.5)

    def _subscriptions(self) -> list[str]:
        orders = [topics.ACKNOWLEDGEMENT, topics.SILENCE, topics.LEASE, topics.LIMITS]
        device = [*orders, topics.LIVE_VIEW, topics.MODEL_COMMAND, *topics.WATERMARK.values()]
        own = [topic.address(self._site_id, self._device_id) for topic in device]
        return [*own, topics.MODEL_COMMAND.address(self._site_id, FLEET)]

    def _post(self, work: Callable[[float], None]) -> None:
        self._inbox.append(work)
        self._wake.set()

    def _send_all(self) -> None:
        pause_s = 0.0
        while not self._closing:
            self._wake.wait(pause_s)
            self._wake.clear()
            self._work_inbox()
            pause_s = self._sender.step(time.monotonic())
        self._say_goodbye()

    def _work_inbox(self) -> None:
        while self._inbox:
            self._inbox.popleft()(time.monotonic())

    def _say_goodbye(self) -> None:
        self._sender.say(self._last_word())
        until_s = time.monotonic() + LAST_WORD_S
        while self._link.connected and time.monotonic() < until_s:
            self._work_inbox()
            self._sender.step(time.monotonic())
            if self._sender.has_said:
                return
            self._wake.wait(0.05)
            self._wake.clear()

    def _begin_anew(self, now_s: float) -> None:
        self._link.restart()
        self._sender.forgotten(now_s)

    def _heard_of_link(self, event: LinkEvent) -> None:
        if event is LinkEvent.CONNECTED:
            word = "is back" if self._connected_before else "is there"
            logger.info("the broker %s", word, extra={"fields": {"event": "link_connected"}})
            self._connected_before = True
        else:
            logger.warning(
                "the broker is away; alarms sound, messages wait in the outbox",
                extra={"fields": {"event": "link_lost"}},
            )

    def _deliver(self, delivery: Delivery, now_s: float) -> None:
        try:
            message = self._read(delivery)
        except (ContractError, RefusedError) as error:
            # Nobody can repair it by sending it again, so it is accepted and named here.
            self._measurements.n_refused_messages += 1
            logger.warning("refused a message on %s: %s", delivery.topic, error)
            delivery.accept()
            return
        if isinstance(message, CommitWatermark):
            self._sender.covered(message, now_s)
            delivery.accept()
        else:
            self._on_command(message, delivery.accept)

    def _read(self, delivery: Delivery) -> CommitWatermark | Command:
        address = parse_address(delivery.topic)
        if address.site_id != self._site_id or address.device_id not in (self._device_id, FLEET):
            raise RefusedError(f"it is addressed to {address.site_id}/{address.device_id}")
        message = decode(delivery.payload, address.topic.message_type)
        named = getattr(message, "device_id", None)
        if named is not None and named != self._device_id:
            raise RefusedError(f"it names device {named}")
        if isinstance(message, CommitWatermark):
            if address.topic is not topics.WATERMARK[message.lane]:
                raise RefusedError(f"it is a watermark of lane {message.lane}")
            return message
        if isinstance(message, Command):
            return message
        raise RefusedError(f"a device takes no {type(message).__name__}")
