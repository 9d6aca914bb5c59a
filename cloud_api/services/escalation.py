"""Calls the next in line about a high-priority alert that nobody answers."""

import asyncio
import logging
from collections.abc import Callable

from cloud_api.core.escalation import EscalationStore
from cloud_api.core.ports import Clock
from cloud_api.core.staff import Permission, Principal, Role
from cloud_api.services.pacing import stopped_within
from wardstream.alerting.escalation import EscalationPolicy, next_call
from wardstream.contracts.errors import TransientError

logger = logging.getLogger(__name__)

_LOOK_S = 1.0


class EscalationDesk:
    """Walks every unanswered alert up the ladder of the site."""

    name = "escalation"

    def __init__(
        self,
        store: EscalationStore,
        policy: EscalationPolicy,
        *,
        clock: Clock,
        ring: Callable[[], None],
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ring = ring

    async def run(self, stop: asyncio.Event) -> None:
        """Call whom it is time to call until `stop`."""
        while not stop.is_set():
            try:
                await self._look()
            except TransientError as error:
                logger.debug("nobody can be called: %s", error)
            await stopped_within(stop, _LOOK_S)

    async def shown(self, principal: Principal, alert_id: str, level: int) -> bool:
        """The station of `principal` has shown a call to somebody it was meant for.

        Raises
        ------
        ForbiddenError
            It was not meant for this role.
        """
        principal.require(Permission.ACKNOWLEDGE)
        if not 0 <= level < len(self._policy.steps):
            return False
        meant = self._policy.steps[level].role
        wanted = Role.PHYSICIAN if meant == "physician" else Role.NURSE
        if wanted not in principal.roles:
            return False
        done = await self._store.shown(alert_id, level, principal.username, self._clock())
        if done:
            self._ring()
        return done

    async def _look(self) -> None:
        now_ns = self._clock()
        for alert in await self._store.unanswered():
            level = next_call(
                self._policy,
                alert.calls,
                activated_time_ns=alert.activated_time_ns,
                now_ns=now_ns,
                answered=False,
            )
            if level is None:
                continue
            role = self._policy.steps[level].role
            if await self._store.call(alert, level, role, now_ns):
                self._ring()
                if level:
                    logger.warning("alert %s is unanswered: called the %s", alert.alert_id, role)
