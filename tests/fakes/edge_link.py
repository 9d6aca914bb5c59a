"""A link without a broker: what is published is kept, and confirmed when the test says so."""

from collections.abc import Sequence
from itertools import count

from edge_agent.core.ports import Delivery, LinkEvent, LinkHandlers


class MemoryLink:
    """`Link` whose broker is the test."""

    def __init__(self, window: int = 20) -> None:
        self.connected = True
        self.window = window
        self.published: list[tuple[str, bytes]] = []
        self.unconfirmed: list[int] = []
        self.n_restarts = 0
        self.handlers: LinkHandlers | None = None
        self.subscriptions: Sequence[str] = ()
        self.n_accepted = 0
        self._ids = count(1)

    def start(self, handlers: LinkHandlers, subscriptions: Sequence[str]) -> None:
        self.handlers, self.subscriptions = handlers, subscriptions
        handlers.on_event(LinkEvent.CONNECTED)

    def publish(self, topic: str, payload: bytes, *, retained: bool = False) -> int | None:
        if not self.connected:
            return None
        self.published.append((topic, payload))
        self.unconfirmed.append(next(self._ids))
        return self.unconfirmed[-1]

    def publish_once(self, topic: str, payload: bytes) -> bool:
        if self.connected:
            self.published.append((topic, payload))
        return self.connected

    def is_alive(self) -> bool:
        return True

    def restart(self) -> None:
        self.n_restarts += 1
        self.unconfirmed.clear()

    def stop(self, deadline_s: float) -> None:
        self.connected = False

    def deliver(self, topic: str, payload: bytes) -> None:
        assert self.handlers is not None
        self.handlers.on_delivery(Delivery(topic, payload, self._accept))

    def _accept(self) -> None:
        self.n_accepted += 1

    def sent(self, suffix: str) -> list[bytes]:
        return [payload for topic, payload in self.published if topic.endswith(f"/{suffix}")]
