"""Who comes in, and who is still in."""

import asyncio

from cloud_api.core.errors import NotSignedInError
from cloud_api.core.ports import (
    Clock,
    NewId,
    PasswordHasher,
    SignedIn,
    StaffStore,
    TokenCodec,
)
from cloud_api.core.staff import SHIFT_S, Principal, Role, SessionRow
from cloud_api.core.throttle import AttemptThrottle
from wardstream.contracts.timebase import NS_PER_S

_TOUCH_EVERY_NS = 60 * NS_PER_S
_MAX_PASSWORD = 256


class SignInDesk:
    """Checks passwords slowly, sessions fast."""

    def __init__(
        self,
        store: StaffStore,
        passwords: PasswordHasher,
        tokens: TokenCodec,
        *,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._tokens = tokens
        self._clock = clock
        self._new_id = new_id
        self._by_user = AttemptThrottle(burst=5, refill_s=15.0)
        self._by_client = AttemptThrottle(burst=30, refill_s=2.0)
        # One at a time: argon2 is heavy by design, and the alarm path shares these cores.
        self._hashing = asyncio.Semaphore(1)
        self._decoy: str | None = None

    async def sign_in(self, username: str, password: str, client: str) -> SignedIn:
        """A session for `username`; wrong name and wrong password look and last the same.

        Raises
        ------
        NotSignedInError
            Name or password is wrong, or the user is disabled.
        TooManyAttemptsError
            This name, or this client, has failed too often.
        """
        now_ns = self._clock()
        key = f"{client} {username[:64]}"
        self._by_client.check(client, now_ns)
        self._by_user.check(key, now_ns)
        credential = await self._store.credential(username)
        known = credential is not None and not credential.disabled
        matches = await self._matches(password, credential.password_hash if credential else None)
        if credential is None or not (known and matches):
            self._by_user.fail(key, now_ns)
            self._by_client.fail(client, now_ns)
            await self._store.note_refused(username, now_ns)
            raise NotSignedInError("user name or password is wrong")
        self._by_user.forgive(key)
        session = SessionRow(
            session_id=self._new_id(),
            username=credential.username,
            roles=credential.roles,
            issued_time_ns=now_ns,
            expires_time_ns=now_ns + SHIFT_S * NS_PER_S,
            seen_time_ns=now_ns,
            ended=False,
        )
        await self._store.open_session(session)
        principal = session.principal()
        return SignedIn(principal=principal, access_token=self._tokens.issue(principal, now_ns))

    async def authenticate(self, token: str) -> Principal:
        """Whose live session `token` names; the use keeps the session alive.

        Raises
        ------
        NotSignedInError
            The token is not ours, or its session is over.
        """
        now_ns = self._clock()
        session = await self._store.session(self._tokens.session_id(token, now_ns))
        if session is None or session.ended or now_ns >= session.live_until_ns():
            raise NotSignedInError("the session is over; sign in again")
        if now_ns - session.seen_time_ns > _TOUCH_EVERY_NS:
            await self._store.touch_session(session.session_id, now_ns)
        return session.principal()

    async def sign_out(self, principal: Principal) -> None:
        """End the session, wherever its token is kept."""
        await self._store.end_session(principal.session_id, principal.username, self._clock())

    async def put_user(
        self, username: str, password: str, roles: frozenset[Role], *, replace: bool
    ) -> bool:
        """Create (or with `replace` change) a user; False if it is there already."""
        password_hash = await asyncio.to_thread(self._passwords.hash, password)
        return await self._store.put_user(username, password_hash, roles, replace=replace)

    async def _matches(self, password: str, password_hash: str | None) -> bool:
        if len(password) > _MAX_PASSWORD:
            password = password[:_MAX_PASSWORD] + "\0"  # never matches, costs the same
        async with self._hashing:
            if self._decoy is None:
                self._decoy = await asyncio.to_thread(self._passwords.hash, self._new_id())
            against = password_hash if password_hash is not None else self._decoy
            return await asyncio.to_thread(self._passwords.verify, password, against)
