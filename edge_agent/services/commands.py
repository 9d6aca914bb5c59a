"""Commands from the cloud: each is carried out once, however often it is delivered."""

import asyncio
import logging
from collections.abc import Callable

from edge_agent.core.outbox_port import Outbox, StorageError
from edge_agent.services.bedside import Bedside
from edge_agent.services.model_updater import ModelUpdater
from wardstream.contracts.alert import AcknowledgeCommand
from wardstream.contracts.device import ModelCommand

logger = logging.getLogger(__name__)


class CommandDesk:
    """Takes commands from the link's thread to the event loop, once each.

    A command is accepted at the broker only when its effect is on disk: killed in between,
    it comes again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
        bedside: Bedside,
        updater: ModelUpdater,
    ) -> None:
        self._loop = loop
        self._outbox = outbox
        self._bedside = bedside
        self._updater = updater
        self._under_way: set[str] = set()

    def receive(
        self, command: AcknowledgeCommand | ModelCommand, accept: Callable[[], None]
    ) -> None:
        """Have `command` carried out; called on any thread."""
        try:
            if self._outbox.has_command(command.command_id):
                accept()
                return
        except StorageError as error:
            logger.debug("it is unknown whether %s was done: %s", command.command_id, error)
        self._loop.call_soon_threadsafe(self._carry_out, command, accept)

    def _carry_out(
        self, command: AcknowledgeCommand | ModelCommand, accept: Callable[[], None]
    ) -> None:
        if command.command_id in self._under_way:
            # Delivered again by a reconnect while its effect is on the way to the disk.
            if isinstance(command, AcknowledgeCommand):
                self._bedside.store.submit((), None, command.command_id, accept)
            return
        self._under_way.add(command.command_id)
        if isinstance(command, AcknowledgeCommand):
            self._bedside.acknowledge(command, accept)
        else:
            self._updater.offer(command, accept)
