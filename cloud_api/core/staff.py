"""Who may do what. Roles are disjoint duties: an administrator is not a clinician."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cloud_api.core.errors import ForbiddenError
from wardstream.contracts.errors import OutOfRangeError

NS_PER_S: Final = 1_000_000_000

SHIFT_S: Final = 8 * 3600
"""Longest session: one shift, also for a wall display."""

IDLE_S: Final = 15 * 60
"""A session without any request or open stream for so long is over. An open dashboard counts as
presence: a central station that logs itself off stops showing alarms."""


class Role(StrEnum):
    """A duty of a staff user."""

    VIEWER = "viewer"
    NURSE = "nurse"
    PHYSICIAN = "physician"
    BIOMED = "biomed"
    ML_OPS = "ml_ops"
    ADMIN = "admin"


class Permission(StrEnum):
    """What a route asks for."""

    WATCH = "watch the ward"
    ACKNOWLEDGE = "acknowledge alerts"
    SILENCE = "silence alarms"
    SWITCH_OFF = "switch alarms or their sound off"
    SET_LIMITS = "set a patient's limits"
    JUDGE = "give verdicts"
    COMMAND_MODELS = "command models"
    INSPECT_LETTERS = "inspect dead letters"


ALLOWED: Final[dict[Permission, frozenset[Role]]] = {
    Permission.WATCH: frozenset(Role),
    Permission.ACKNOWLEDGE: frozenset({Role.NURSE, Role.PHYSICIAN}),
    Permission.SILENCE: frozenset({Role.NURSE, Role.PHYSICIAN}),
    Permission.SWITCH_OFF: frozenset({Role.PHYSICIAN}),
    Permission.SET_LIMITS: frozenset({Role.PHYSICIAN}),
    Permission.JUDGE: frozenset({Role.NURSE, Role.PHYSICIAN}),
    Permission.COMMAND_MODELS: frozenset({Role.ML_OPS, Role.ADMIN}),
    Permission.INSPECT_LETTERS: frozenset({Role.BIOMED, Role.ML_OPS, Role.ADMIN}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking, as the store confirmed for this request.

    Attributes
    ----------
    username : str
        Staff user name.
    roles : frozenset of Role
        As they are now, not as they were at sign-in.
    session_id : str
        UUID of the session.
    expires_time_ns : int
        When it ends whatever happens.
    """

    username: str
    roles: frozenset[Role]
    session_id: str
    expires_time_ns: int

    def require(self, permission: Permission) -> None:
        """Return if one of the roles has `permission`.

        Raises
        ------
        ForbiddenError
            None has; the message names those that would.
        """
        if not self.roles & ALLOWED[permission]:
            needed = ", ".join(sorted(ALLOWED[permission]))
            raise ForbiddenError(f"to {permission} one of these roles is needed: {needed}")


def parse_roles(names: Iterable[str]) -> frozenset[Role]:
    """The roles called `names`.

    Raises
    ------
    OutOfRangeError
        There are none, or one is unknown.
    """
    known = {role.value for role in Role}
    unknown = sorted(set(names) - known)
    if unknown:
        raise OutOfRangeError(f"unknown roles {unknown}; there are {sorted(known)}")
    roles = frozenset(Role(name) for name in names)
    if not roles:
        raise OutOfRangeError(f"a user needs a role; there are {sorted(known)}")
    return roles


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session as the store knows it, with its user.

    Attributes
    ----------
    session_id, username : str
        Which, whose.
    roles : frozenset of Role
        The user's roles now.
    issued_time_ns, expires_time_ns, seen_time_ns : int
        Begin, latest end, last use.
    ended : bool
        Signed out, or the user was disabled.
    """

    session_id: str
    username: str
    roles: frozenset[Role]
    issued_time_ns: int
    expires_time_ns: int
    seen_time_ns: int
    ended: bool

    def live_until_ns(self) -> int:
        """When the session ends if nothing more is heard of it."""
        return min(self.expires_time_ns, self.seen_time_ns + IDLE_S * NS_PER_S)

    def principal(self) -> Principal:
        """The person behind it."""
        return Principal(
            username=self.username,
            roles=self.roles,
            session_id=self.session_id,
            expires_time_ns=self.expires_time_ns,
        )
