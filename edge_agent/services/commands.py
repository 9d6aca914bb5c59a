"""Commands from the cloud: each is carried out once, however often it is delivered."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from edge_agent.core.outbox_port import Outbox, StorageError
from edge_agent.core.ports import Measurements
from edge_agent.services.bedside import Bedside
from edge_agent.services.model_updater import ModelUpdater
from wardstream.contracts.alert import AcknowledgeCommand
from wardstream.contracts.authority import PatientLimitsCommand, SilenceCommand, StationLease
from wardstream.contracts.device import ModelCommand
from wardstream.contracts.errors import OutOfRangeError

logger = logging.getLogger(__name__)

Order = AcknowledgeCommand | SilenceCommand | PatientLimitsCommand
Command = Order | StationLease | ModelCommand


class LeaseTaker(Protocol):
    """Who takes leases."""

    def take(self, lease: StationLease) -> None:
        """Take in a lease whose signature is good; on the event loop."""
        ...


class CommandDesk:
    """Takes commands from the link's thread to the event loop, once each.

    A command is accepted at the broker only when its effect is on disk: killed in between,
    it comes again.

    Parameters
    ----------
    loop : event loop
        Where everything is carried out.
    outbox : Outbox
        Remembers what was done.
    bedside : Bedside
        Carries out orders.
    updater : ModelUpdater
        Carries out model commands.
    measurements : Measurements
        Counts refusals.
    is_signed : callable or None
        Whether a trusted key signed an order. None: this device trusts no key; then nothing can
        make it quiet, and an acknowledgement, which does not, needs no signature.
    leases : LeaseTaker or None
        Takes leases.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
        bedside: Bedside,
        updater: ModelUpdater,
        measurements: Measurements,
        is_signed: Callable[[object], bool] | None = None,
        leases: LeaseTaker | None = None,
    ) -> None:
        self._loop = loop
        self._outbox = outbox
        self._bedside = bedside
        self._updater = updater
        self._measurements = measurements
        self._is_signed = is_signed
        self._leases = leases
        self._under_way: set[str] = set()

    def receive(self, command: Command, accept: Callable[[], None]) -> None:
        """Have `command` carried out; called on any thread."""
        if not isinstance(command, ModelCommand) and (why := self._refusal(command)):
            self._refuse(command, why, accept)
        elif isinstance(command, StationLease):
            if self._leases is not None:
                self._loop.call_soon_threadsafe(self._leases.take, command)
            accept()
        elif self._is_done(command):
            accept()
        else:
            self._loop.call_soon_threadsafe(self._carry_out, command, accept)

    def _refusal(self, order: Order | StationLease) -> str | None:
        if self._is_signed is None:
            if isinstance(order, AcknowledgeCommand):
                return None
            return "this device trusts no key (EDGE_ORDERS_KEY), so nobody may order that"
        return None if self._is_signed(order) else "no trusted key signed it"

    def _refuse(self, command: object, why: str, accept: Callable[[], None]) -> None:
        self._measurements.n_refused_messages += 1
        logger.warning("refused a %s: %s", type(command).__name__, why)
        accept()

    def _is_done(self, command: Order | ModelCommand) -> bool:
        try:
            return self._outbox.has_command(command.command_id)
        except StorageError as error:
            logger.debug("it is unknown whether %s was done: %s", command.command_id, error)
            return False

    def _carry_out(self, command: Order | ModelCommand, accept: Callable[[], None]) -> None:
        if command.command_id in self._under_way:
            # Delivered again by a reconnect while its effect is on the way to the disk.
            if not isinstance(command, ModelCommand):
                self._bedside.store.submit((), None, command.command_id, accept)
            return
        self._under_way.add(command.command_id)
        try:
            match command:
                case AcknowledgeCommand():
                    self._bedside.acknowledge(command, accept)
                case SilenceCommand() | PatientLimitsCommand():
                    self._bedside.order(command, accept)
                case ModelCommand():
                    self._updater.offer(command, accept)
        except OutOfRangeError as error:
            self._refuse(command, str(error), accept)
