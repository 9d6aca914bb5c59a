"""HL7 v2 numerics of a monitor gateway over MLLP: the gateway connects, we answer."""

import asyncio
import logging
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from edge_agent.adapters.drivers.hl7_numerics import (
    Header,
    RefusedMessageError,
    acknowledge,
    read_oru,
)
from edge_agent.adapters.drivers.inbox import Inbox
from edge_agent.adapters.drivers.live import DeviceLostError
from edge_agent.adapters.drivers.mllp_frames import END, START, MllpFramer
from edge_agent.adapters.optional import import_driver
from wardstream.contracts.errors import ConfigurationError

logger = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 8
REMEMBERED: Final = 512
"""Messages of which a repeat is recognised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MllpPlan:
    """Where to listen, and to whom.

    Attributes
    ----------
    host, port : str, int
        Address to listen on; port 0 takes a free one.
    location : tuple of str
        Leading components of PV1-3 of this bed; () where the connection is this bed's alone.
    processing_id : str
        MSH-11 that is taken: P, T or D.
    idle_s : float
        Silence after which a connection is given up.
    certificate, key, authority : Path or None
        TLS: own certificate and key; with `authority`, the peer must have one of it.
    """

    host: str
    port: int
    location: tuple[str, ...] = ()
    processing_id: str = "P"
    idle_s: float = 120.0
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None


class MllpDriver:
    """Server for ORU^R01; every message is answered, whatever is in it.

    Raises
    ------
    ConfigurationError
        The certificates cannot be used.
    """

    def __init__(self, plan: MllpPlan, inbox: Inbox) -> None:
        import_driver("hl7")
        self._plan = plan
        self._inbox = inbox
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._connections: set[asyncio.Task[None]] = set()
        self.port = plan.port
        self._tls = self._context()
        self.on_listening: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        """``hl7`` and the address listened on."""
        return f"hl7:{self._plan.host}:{self.port}"

    async def converse(self) -> None:
        """Listen until cancelled.

        Raises
        ------
        DeviceLostError
            The address cannot be listened on now.
        """
        try:
            server = await asyncio.start_server(
                self._serve, self._plan.host, self._plan.port, ssl=self._tls
            )
        except OSError as error:
            raise DeviceLostError(f"cannot listen: {error}") from error
        self.port = server.sockets[0].getsockname()[1]
        self.on_listening()
        try:
            async with server:
                await server.serve_forever()
        finally:
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _context(self) -> ssl.SSLContext | None:
        if self._plan.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._plan.certificate, self._plan.key)
            if self._plan.authority is not None:
                context.load_verify_locations(self._plan.authority)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:  # ssl.SSLError is one
            # Tried again it would fail again, and the bed would wait for a gateway in vain.
            raise ConfigurationError([f"certificates of {self.name}: {error}"]) from error
        return context

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            self._inbox.refuse("hl7", f"more than {MAX_CONNECTIONS} connections at once")
            writer.close()
            return
        self._connections.add(task)
        self._inbox.connected(self.name, True)
        why = "the gateway hung up"
        try:
            await self._converse_with(reader, writer)
        except TimeoutError:
            why = f"the gateway was silent for {self._plan.idle_s:g} s"
        except OSError as error:
            why = f"the connection broke: {error}"
        except asyncio.CancelledError:
            # Ends here: asyncio's own callback of a cancelled connection logs a traceback.
            why = "the agent stops"
        finally:
            self._connections.discard(task)
            writer.close()
            if not self._connections:
                self._inbox.connected(self.name, False, why)

    async def _converse_with(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        framer = MllpFramer()
        while True:
            async with asyncio.timeout(self._plan.idle_s):
                data = await reader.read(65_536)
            if not data:
                if framer.half_frame:
                    self._inbox.refuse("hl7", "the connection ended within a frame")
                return
            messages, reasons = framer.feed(data)
            for reason in reasons:
                self._inbox.refuse("hl7", reason)
            for message in messages:
                answer = self._take(message)
                if answer is not None:
                    writer.write(START + answer + END)
            async with asyncio.timeout(self._plan.idle_s):
                await writer.drain()

    def _take(self, payload: bytes) -> bytes | None:
        """Deliver what `payload` holds; the answer to it, None if none is wanted."""
        now_ns = self._inbox.now_ns()
        try:
            message = read_oru(payload, now_ns, self._plan.processing_id)
        except RefusedMessageError as error:
            self._inbox.refuse("hl7", str(error))
            header = Header(error.control_id, "R01", "2.6", self._plan.processing_id, True)
            return acknowledge(header, error.code, uuid4().hex[:20], now_ns)
        header = message.header
        if not self._is_repeat(header.control_id, payload):
            if message.location[: len(self._plan.location)] == self._plan.location:
                for arrival in message.arrivals:
                    self._inbox.put(arrival)
                for channel, reason in message.refusals:
                    self._inbox.refuse(channel, reason)
            elif not any(message.location):
                self._inbox.refuse("hl7", "it states no bed (PV1-3), and several share the line")
        if not header.wants_answer:
            return None
        return acknowledge(header, "AA", uuid4().hex[:20], now_ns)

    def _is_repeat(self, control_id: str, payload: bytes) -> bool:
        # With its content: a sender that numbers two messages alike loses neither.
        key = (control_id, hash(payload))
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return False
