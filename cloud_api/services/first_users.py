"""Creates the users a fresh installation is entered with."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from cloud_api.core.staff import Role
from cloud_api.services.pacing import Backoff, stopped_within
from cloud_api.services.sign_in import SignInDesk
from wardstream.contracts.errors import TransientError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FirstUser:
    """A user to create unless it is there."""

    username: str
    password: str
    roles: frozenset[Role]


class FirstUsers:
    """Creates each once; later starts change nothing, whatever the variables say."""

    name = "first users"

    def __init__(self, desk: SignInDesk, users: Sequence[FirstUser]) -> None:
        self._desk = desk
        self._users = tuple(users)
        self._created = not users

    @property
    def are_there(self) -> bool:
        """Whether everybody can sign in; before that, a right password would be refused."""
        return self._created

    async def run(self, stop: asyncio.Event) -> None:
        """Create them as soon as the store answers, then wait for `stop`."""
        backoff = Backoff()
        waiting = list(self._users)
        while waiting and not stop.is_set():
            user = waiting[0]
            try:
                if await self._desk.put_user(
                    user.username, user.password, user.roles, replace=False
                ):
                    logger.info("created user %s", user.username)
                waiting.pop(0)
            except TransientError:
                await stopped_within(stop, backoff.next_s())
        self._created = not waiting
        await stop.wait()
