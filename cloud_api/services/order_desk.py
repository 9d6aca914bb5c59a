"""Silences and limits from a station to the bed, signed; and the leases that hold silences up."""

import asyncio
import logging

from cloud_api.core.orders import (
    REFRESH_S,
    LimitsRequest,
    OrderStore,
    PlacedDevice,
    Signer,
    SilenceRequest,
    StoredOrder,
    authority_of,
    require_signer,
)
from cloud_api.core.ports import Clock, NewId, Publisher
from cloud_api.core.staff import Permission, Principal
from cloud_api.services.pacing import stopped_within
from wardstream.contracts.alert import Condition
from wardstream.contracts.authority import PatientLimitsCommand, SilenceCommand, StationLease
from wardstream.contracts.codec import encode
from wardstream.contracts.errors import TransientError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.topics import LEASE, LIMITS, SILENCE

logger = logging.getLogger(__name__)

_RESEND_S = 3.0
_LOOK_S = 1.0


class OrderDesk:
    """Records orders, signs and sends them, and sends them again until the bed's event confirms.

    Parameters
    ----------
    store : OrderStore
        Where they are written.
    publisher : Publisher
        The way to the beds.
    signer : Signer or None
        None: this site signs nothing, and no bed is ever made quiet.
    clock, new_id : callable
        Wall clock; fresh UUIDs.
    lease_s : float
        How long a station may stay unheard before the beds sound.
    """

    name = "order desk"

    def __init__(
        self,
        store: OrderStore,
        publisher: Publisher,
        signer: Signer | None,
        *,
        clock: Clock,
        new_id: NewId,
        lease_s: float,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._signer = signer
        self._clock = clock
        self._new_id = new_id
        self._lease_ns = round(lease_s * NS_PER_S)
        self._last_lease_ns = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Send what is due until `stop`."""
        while not stop.is_set():
            try:
                await self._send_due()
            except TransientError as error:
                logger.debug("orders wait: %s", error)
            await stopped_within(stop, _LOOK_S)

    async def silence(self, principal: Principal, request: SilenceRequest) -> str:
        """Order a silence; the id under which the bed will tell of it.

        Raises
        ------
        ForbiddenError, NotFoundError, ConflictError, OutOfRangeError
            The role may not; there is no such device; this site signs nothing; it cannot be meant.
        """
        authority = authority_of(principal, request.kind)
        signer = require_signer(self._signer)
        device = await self._store.device(request.device_id)
        now_ns = self._clock()
        command = SilenceCommand(
            command_id=self._new_id(),
            silence_id=self._new_id(),
            device_id=device.device_id,
            kind=request.kind,
            author=principal.username,
            authority=authority,
            station_id=request.station_id,
            issued_time_ns=TimestampNs(now_ns),
            expires_time_ns=TimestampNs(now_ns + round(request.lasts_s * NS_PER_S)),
            scope=request.scope,
            seen=request.seen,
            reason=request.reason,
        )
        what = f"{request.kind} of {request.scope or 'the bed'} for {request.lasts_s:g} s"
        # The lease first: a silence that is not held would be told as such.
        self._lease(principal, request.station_id, device, signer)
        await self._write_and_send(device, "silence", signer(command), what)
        return command.silence_id

    async def end_silence(self, principal: Principal, silence_id: str, station_id: str) -> None:
        """Order the end of a silence; anybody who may silence may end one.

        Raises
        ------
        ForbiddenError, NotFoundError, ConflictError
            The role may not; there is none; it is over, or this site signs nothing.
        """
        principal.require(Permission.SILENCE)
        signer = require_signer(self._signer)
        device, kind = await self._store.silence(silence_id)
        now_ns = self._clock()
        command = SilenceCommand(
            command_id=self._new_id(),
            silence_id=silence_id,
            device_id=device.device_id,
            kind=kind,
            ends=True,
            author=principal.username,
            authority=authority_of(principal, Condition.AUDIO_PAUSED),
            station_id=station_id,
            issued_time_ns=TimestampNs(now_ns),
            expires_time_ns=TimestampNs(now_ns + round(REFRESH_S * NS_PER_S)),
            reason="ended at a station",
        )
        await self._write_and_send(device, "end", signer(command), f"end of {kind}")

    async def renew(self, principal: Principal, station_id: str) -> list[str]:
        """The station lives: hold up what its person silenced; the devices concerned."""
        principal.require(Permission.SILENCE)
        if self._signer is None:
            return []
        devices = await self._store.held_by(station_id, principal.username, self._clock())
        for device in devices:
            self._lease(principal, station_id, device, self._signer)
        return [device.device_id for device in devices]

    async def set_limits(self, principal: Principal, request: LimitsRequest) -> str:
        """Order limits for the patient in a bed; the id under which the bed will tell of them.

        Raises
        ------
        ForbiddenError, NotFoundError, ConflictError, OutOfRangeError
            As for `silence`.
        """
        principal.require(Permission.SET_LIMITS)
        signer = require_signer(self._signer)
        device = await self._store.device(request.device_id)
        now_ns = self._clock()
        command = PatientLimitsCommand(
            command_id=self._new_id(),
            device_id=device.device_id,
            author=principal.username,
            limits=request.limits,
            issued_time_ns=TimestampNs(now_ns),
            expires_time_ns=TimestampNs(now_ns + round(request.seconds * NS_PER_S)),
            reason=request.reason,
        )
        what = ", ".join(f"{m} {p.lower}..{p.upper}" for m, p in request.limits.items())
        await self._write_and_send(device, "limits", signer(command), what or "the site's")
        return command.command_id

    def _lease(
        self, principal: Principal, station_id: str, device: PlacedDevice, signer: Signer
    ) -> None:
        # Numbered by the clock, and never twice the same: any replica may renew.
        now_ns = self._clock()
        self._last_lease_ns = max(self._last_lease_ns + 1, now_ns)
        lease = StationLease(
            station_id=station_id,
            device_id=device.device_id,
            boot_id=device.boot_id,
            holder=principal.username,
            sequence_number=self._last_lease_ns,
            issued_time_ns=TimestampNs(now_ns),
            expires_time_ns=TimestampNs(now_ns + self._lease_ns),
        )
        address = LEASE.address(device.site_id, device.device_id)
        # Whole seconds are the finest a broker knows; the bed counts finer.
        expires_in_s = max(1, self._lease_ns // NS_PER_S)
        self._publisher.publish(
            address, encode(signer(lease)), retained=False, expires_in_s=expires_in_s
        )

    async def _write_and_send(
        self,
        device: PlacedDevice,
        kind: str,
        command: SilenceCommand | PatientLimitsCommand,
        what: str,
    ) -> None:
        silences = isinstance(command, SilenceCommand)
        order = StoredOrder(
            command_id=command.command_id,
            subject_id=command.silence_id if silences else command.command_id,
            device_id=device.device_id,
            site_id=device.site_id,
            kind=kind,
            author=command.author,
            station_id=command.station_id if silences else "",
            payload=encode(command),
            issued_time_ns=command.issued_time_ns,
            send_until_time_ns=min(
                command.expires_time_ns, command.issued_time_ns + round(REFRESH_S * NS_PER_S)
            ),
        )
        next_ns = command.issued_time_ns + round(_RESEND_S * NS_PER_S)
        await self._store.add(order, next_send_ns=next_ns, what=what)
        self._send(order, command.issued_time_ns)

    async def _send_due(self) -> None:
        if not self._publisher.is_connected:
            return
        now_ns = self._clock()
        for order in await self._store.due(now_ns, now_ns + round(_RESEND_S * NS_PER_S)):
            self._send(order, now_ns)

    def _send(self, order: StoredOrder, now_ns: int) -> None:
        topic = LIMITS if order.kind == "limits" else SILENCE
        left_s = max(1, (order.send_until_time_ns - now_ns) // NS_PER_S)
        address = topic.address(order.site_id, order.device_id)
        self._publisher.publish(address, order.payload, retained=False, expires_in_s=left_s)
