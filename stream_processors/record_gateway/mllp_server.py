"""HL7 v2 over MLLP: many senders, many messages a connection, anything in between."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wardstream.contracts.errors import ConfigurationError, TransientError
from wardstream.contracts.mllp import END, START, MllpFramer

logger = logging.getLogger(__name__)

_READ_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class MllpPlan:
    """Where to listen, and for how long to wait.

    Attributes
    ----------
    host, port : str, int
        Address to listen on; port 0 takes a free one.
    max_connections : int
        Senders at once; one more is turned away.
    max_bytes : int
        Longest message.
    idle_s : float
        Silence after which a connection is given up.
    answer_within_s : float
        How long ledger and Kafka may be away before a connection is closed without an answer.
    certificate, key, authority : Path or None
        TLS: own certificate and key; with `authority`, a sender must have one of it.
    """

    host: str = "127.0.0.1"
    port: int = 0
    max_connections: int = 64
    max_bytes: int = 1 << 20
    idle_s: float = 600.0
    answer_within_s: float = 30.0
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None


@dataclass(slots=True)
class MllpCounts:
    """Since start; exported as metrics."""

    connections: int = 0
    turned_away: int = 0
    frames: int = 0
    noise: int = 0
    unanswered: int = 0


class MllpServer:
    """Hands every whole frame to `take` and writes its answer, in order, one at a time."""

    name = "mllp"

    def __init__(self, plan: MllpPlan, take: Callable[[bytes], Awaitable[bytes | None]]) -> None:
        self._plan = plan
        self._take = take
        self._connections: set[asyncio.Task[None]] = set()
        self.counts = MllpCounts()
        self.port = plan.port
        self.listening = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop` is set; then answers under way are finished, and no more read.

        Raises
        ------
        ConfigurationError
            The address cannot be listened on, or the certificate not be used.
        """
        try:
            server = await asyncio.start_server(
                self._serve, self._plan.host, self._plan.port, ssl=self._tls()
            )
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError([f"MLLP cannot listen: {error}"]) from error
        self.port = server.sockets[0].getsockname()[1]
        self.listening.set()
        secured = " with TLS" if self._plan.certificate else ""
        logger.info("HL7 over MLLP on %s:%d%s", self._plan.host, self.port, secured)
        try:
            await stop.wait()
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _tls(self) -> ssl.SSLContext | None:
        if self._plan.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._plan.certificate, self._plan.key)
        if self._plan.authority is not None:
            context.load_verify_locations(self._plan.authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= self._plan.max_connections:
            self.counts.turned_away += 1
            logger.warning("more than %d senders at once", self._plan.max_connections)
            writer.close()
            return
        self._connections.add(task)
        self.counts.connections += 1
        try:
            await self._converse(reader, writer)
        except TimeoutError:
            logger.info("a sender was silent for %g s", self._plan.idle_s)
        except TransientError as error:
            self.counts.unanswered += 1
            logger.warning("a message was not answered, its sender will send it again: %s", error)
        except (OSError, ssl.SSLError) as error:
            logger.info("a connection broke: %s", type(error).__name__)
        except asyncio.CancelledError:
            pass  # ends here: asyncio's callback of a cancelled connection logs a traceback
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = MllpFramer(self._plan.max_bytes)
        while True:
            async with asyncio.timeout(self._plan.idle_s):
                data = await reader.read(_READ_BYTES)
            if not data:
                if framer.half_frame:
                    self._note("a connection ended within a frame")
                return
            messages, reasons = framer.feed(data)
            for reason in reasons:
                self._note(reason)
            for message in messages:
                self.counts.frames += 1
                # Shielded: what is being stored is not torn apart when we are told to stop.
                answer = await asyncio.shield(self._answered(message))
                if answer is not None:
                    writer.write(START + answer + END)
            async with asyncio.timeout(self._plan.idle_s):
                await writer.drain()

    async def _answered(self, message: bytes) -> bytes | None:
        pause_s = 0.2
        deadline = asyncio.get_running_loop().time() + self._plan.answer_within_s
        while True:
            try:
                return await self._take(message)
            except TransientError:
                if asyncio.get_running_loop().time() + pause_s > deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 2.0)

    def _note(self, reason: str) -> None:
        self.counts.noise += 1
        logger.warning("MLLP: %s", reason)
