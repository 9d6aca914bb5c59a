"""What staff decide about alerts and models, and that it reaches the devices."""

import asyncio
import logging
from collections.abc import Callable

from cloud_api.core.orders import Signer
from cloud_api.core.ports import (
    AcknowledgeRequest,
    Clock,
    CommandStore,
    NewId,
    PendingAcknowledgement,
    Publisher,
)
from cloud_api.core.staff import Permission, Principal
from cloud_api.core.views import ModelCommandView, Verdict, VerdictView
from cloud_api.services.pacing import stopped_within
from wardstream.contracts.codec import encode
from wardstream.contracts.device import ModelAction, ModelCommand
from wardstream.contracts.errors import TransientError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.topics import ACKNOWLEDGEMENT, FLEET, MODEL_COMMAND

logger = logging.getLogger(__name__)

_RESEND_S = 3.0
_LOOK_S = 1.0


class AlertDesk:
    """Records decisions, sends them, and sends them again until the bed confirms."""

    name = "alert desk"

    def __init__(
        self,
        store: CommandStore,
        publisher: Publisher,
        *,
        clock: Clock,
        new_id: NewId,
        acknowledgement_s: float,
        ring: Callable[[], None],
        signer: Signer | None = None,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._new_id = new_id
        self._ring = ring
        self._signer = signer
        self._acknowledgement_ns = round(acknowledgement_s * NS_PER_S)

    async def run(self, stop: asyncio.Event) -> None:
        """Send what is due until `stop`."""
        while not stop.is_set():
            try:
                await self._send_due()
            except TransientError as error:
                logger.debug("commands wait: %s", error)
            await stopped_within(stop, _LOOK_S)

    async def acknowledge(
        self,
        principal: Principal,
        alert_id: str,
        reason: str | None,
        *,
        seen_revision: int | None = None,
    ) -> PendingAcknowledgement:
        """Record that `principal` saw the alert, and tell its device.

        Raises
        ------
        ForbiddenError, NotFoundError, ConflictError
            The role may not; there is no such alert; it is over.
        """
        principal.require(Permission.ACKNOWLEDGE)
        now_ns = self._clock()
        request = AcknowledgeRequest(
            command_id=self._new_id(),
            alert_id=alert_id,
            author=principal.username,
            reason=reason,
            issued_time_ns=now_ns,
            expires_time_ns=now_ns + self._acknowledgement_ns,
            seen_revision=seen_revision,
        )
        pending = await self._store.add_acknowledgement(
            request, next_send_ns=now_ns + round(_RESEND_S * NS_PER_S)
        )
        if pending.for_device:
            self._send(pending, now_ns)
        self._ring()
        return pending

    async def judge(
        self, principal: Principal, alert_id: str, verdict: Verdict, comment: str | None
    ) -> VerdictView:
        """Record whether the alert was right, in the view of `principal`.

        Raises
        ------
        ForbiddenError, NotFoundError
            The role may not; there is no such alert.
        """
        principal.require(Permission.JUDGE)
        view = VerdictView(
            verdict_id=self._new_id(),
            verdict=verdict,
            comment=comment,
            author=principal.username,
            given_time_ns=self._clock(),
        )
        await self._store.add_verdict(alert_id, view)
        return view

    async def command_model(
        self,
        principal: Principal,
        *,
        site_id: str,
        device_id: str | None,
        action: ModelAction,
        version: int,
    ) -> ModelCommandView:
        """Record a model command for one device or a whole site, and publish it retained.

        Raises
        ------
        ForbiddenError
            The role may not.
        OutOfRangeError
            An id or the version cannot be.
        """
        principal.require(Permission.COMMAND_MODELS)
        command = ModelCommand(
            command_id=self._new_id(),
            action=action,
            version=0 if action is ModelAction.ROLLBACK else version,
            issued_time_ns=TimestampNs(self._clock()),
            author=principal.username,
            device_id=device_id,
        )
        MODEL_COMMAND.address(site_id, device_id or FLEET)  # refuses a malformed site
        await self._store.add_model_command(site_id, command)
        published_ns = await self._publish_model(site_id, command)
        return ModelCommandView(
            command_id=command.command_id,
            site_id=site_id,
            device_id=device_id,
            action=action.value,
            version=command.version,
            author=principal.username,
            issued_time_ns=command.issued_time_ns,
            published_time_ns=published_ns,
        )

    async def _send_due(self) -> None:
        if not self._publisher.is_connected:
            return
        now_ns = self._clock()
        due = await self._store.due_acknowledgements(now_ns, now_ns + round(_RESEND_S * NS_PER_S))
        for pending in due:
            self._send(pending, now_ns)
        for site_id, command in await self._store.unpublished_model_commands():
            await self._publish_model(site_id, command)

    def _send(self, pending: PendingAcknowledgement, now_ns: int) -> None:
        command = pending.command
        if self._signer is not None:
            command = self._signer(command)
        # It dies with the acknowledgement: a device that comes back later must not be quiet
        # because of something a nurse saw before.
        left_s = max(1, (command.expires_time_ns - now_ns) // NS_PER_S)
        address = ACKNOWLEDGEMENT.address(pending.site_id, command.device_id)
        self._publisher.publish(address, encode(command), retained=False, expires_in_s=left_s)

    async def _publish_model(self, site_id: str, command: ModelCommand) -> int | None:
        address = MODEL_COMMAND.address(site_id, command.device_id or FLEET)
        if not self._publisher.publish(address, encode(command), retained=True):
            return None
        now_ns = self._clock()
        await self._store.model_command_published(command.command_id, now_ns)
        return now_ns
