"""As much of MQTT 5 as a device needs to publish at QoS 1 and to hear its watermarks.

A load generator shares the cores with what it loads. Through paho a publish costs about 55 µs,
here about 6: so the figures are those of the pipeline, not of who feeds it. Everything else
speaks MQTT through paho.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

logger = logging.getLogger(__name__)

_CONNACK, _PUBLISH, _PUBACK, _SUBACK = 0x20, 0x30, 0x40, 0x90
_SESSION_EXPIRY_S: Final = 3600
_KEEPALIVE_S: Final = 30
_RECONNECT_S: Final = 0.5
_LONGEST_SILENCE_S: Final = 12.0
"""A broker that answers no ping for so long is taken for dead, as devices do."""


def _length(n: int) -> bytes:
    out = bytearray()
    while True:
        n, digit = divmod(n, 128)
        out.append(digit | (0x80 if n else 0))
        if not n:
            return bytes(out)


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def _packet(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + _length(len(body)) + body


def connect_packet(client_id: str, user: str, password: str) -> bytes:
    """CONNECT that keeps its session over a lost connection."""
    properties = b"\x11" + _SESSION_EXPIRY_S.to_bytes(4, "big")
    return _packet(
        0x10,
        _text("MQTT") + b"\x05\xc0" + _KEEPALIVE_S.to_bytes(2, "big")
        + _length(len(properties)) + properties
        + _text(client_id) + _text(user) + _text(password),
    )  # fmt: skip


def publish_packet(address: str, payload: bytes, packet_id: int, *, retain: bool = False) -> bytes:
    """PUBLISH at QoS 1."""
    topic = _text(address)
    kind = _PUBLISH | 0x02 | (0x01 if retain else 0)
    head = bytes([kind]) + _length(len(topic) + 3 + len(payload))
    return b"".join((head, topic, packet_id.to_bytes(2, "big"), b"\x00", payload))


def subscribe_packet(packet_id: int, *filters: str) -> bytes:
    """SUBSCRIBE at QoS 1."""
    body = b"".join(_text(name) + b"\x01" for name in filters)
    return _packet(0x82, packet_id.to_bytes(2, "big") + b"\x00" + body)


def packets(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Kind (first byte) and body of each whole packet of `buffer`, which keeps the rest."""
    at = 0
    while len(buffer) - at >= 2:
        length, shift, head = 0, 0, at + 1
        while True:
            if head >= len(buffer):
                break
            digit = buffer[head]
            length |= (digit & 0x7F) << shift
            shift, head = shift + 7, head + 1
            if not digit & 0x80:
                break
        if buffer[head - 1] & 0x80 or len(buffer) - head < length:
            break
        yield buffer[at], bytes(buffer[head : head + length])
        at = head + length
    del buffer[:at]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where and as whom a device connects."""

    host: str
    port: int
    user: str
    password: str

    @classmethod
    def of(cls, url: str) -> "Account":
        """From ``mqtt://user:password@host:port``."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 1883,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )


class DeviceLink(asyncio.Protocol):
    """One device's connection, made again whenever it breaks.

    Parameters
    ----------
    account : Account
        Of the broker.
    subscriptions : tuple of str
        What the device listens to.
    on_message : callable
        Gets address and payload of what it hears.
    on_connect : callable
        Called after each connection.
    """

    def __init__(
        self,
        account: Account,
        subscriptions: tuple[str, ...],
        on_message: Callable[[str, bytes], None],
        on_connect: Callable[[], None],
    ) -> None:
        self._account = account
        self._subscriptions = subscriptions
        self._on_message = on_message
        self._on_connect = on_connect
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._packet_ids = itertools.cycle(range(1, 65_535))
        self._lost = asyncio.Event()
        self._heard_s = 0.0
        self.is_up = False
        self.n_unconfirmed = 0

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._lost.clear()
                try:
                    await loop.create_connection(
                        lambda: self, self._account.host, self._account.port
                    )
                except OSError:
                    await asyncio.sleep(_RECONNECT_S)
                    continue
                await self._ping_until_lost(loop)
                await asyncio.sleep(_RECONNECT_S)
        finally:
            if self._transport is not None:
                self._transport.write(_packet(0xE0, b""))
                self._transport.close()

    async def _ping_until_lost(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._lost.is_set():
            try:
                await asyncio.wait_for(self._lost.wait(), 4.0)
            except TimeoutError:
                if self._transport is None:
                    return
                if loop.time() - self._heard_s > _LONGEST_SILENCE_S:
                    self._transport.abort()
                    return
                self._transport.write(b"\xc0\x00")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who this is."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # of create_connection
        self._transport = transport
        self._buffer.clear()
        self._heard_s = asyncio.get_running_loop().time()
        account = self._account
        transport.write(connect_packet(f"load-{account.user}", account.user, account.password))

    def connection_lost(self, exc: Exception | None) -> None:
        """Begin again."""
        self.is_up = False
        self._transport = None
        self.n_unconfirmed = 0
        self._lost.set()

    def data_received(self, data: bytes) -> None:
        """Take in what the broker says."""
        self._heard_s = asyncio.get_running_loop().time()
        self._buffer += data
        for kind, body in packets(self._buffer):
            if kind & 0xF0 == _PUBLISH:
                self._take(kind, body)
            elif kind == _PUBACK:
                self.n_unconfirmed -= 1
            elif kind == _CONNACK:
                self._connected(body)

    def publish(self, address: str, payload: bytes, *, retain: bool = False) -> bool:
        """Send at QoS 1 once; False while there is no connection."""
        if self._transport is None or not self.is_up:
            return False
        self.n_unconfirmed += 1
        self._transport.write(
            publish_packet(address, payload, next(self._packet_ids), retain=retain)
        )
        return True

    def _connected(self, body: bytes) -> None:
        if body[1]:
            logger.error("the broker refuses %s: reason %d", self._account.user, body[1])
            return
        assert self._transport is not None  # noqa: S101  # it just said something
        self._transport.write(subscribe_packet(65_535, *self._subscriptions))
        self.is_up = True
        self._on_connect()

    def _take(self, kind: int, body: bytes) -> None:
        n_topic = int.from_bytes(body[:2], "big")
        address, rest = body[2 : 2 + n_topic].decode(), body[2 + n_topic :]
        if kind & 0x06 and self._transport is not None:
            self._transport.write(_packet(_PUBACK, rest[:2]))
            rest = rest[2:]
        n_properties = rest[0]  # none of ours is longer than 127 bytes
        self._on_message(address, rest[1 + n_properties :])
