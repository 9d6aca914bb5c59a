"""Staff users, their sessions, and the record of who came in."""

from cloud_api.adapters.audit import AuditEntry, append_audit
from cloud_api.adapters.database import ConnectionSource
from cloud_api.core.ports import Credential
from cloud_api.core.staff import Role, SessionRow, parse_roles


class PostgresStaff:
    """Users and sessions."""

    def __init__(self, connections: ConnectionSource) -> None:
        self._connections = connections

    async def credential(self, username: str) -> Credential | None:
        """What sign-in needs of `username`; None if there is no such user."""
        async with self._connections.use() as connection:
            cursor = await connection.execute(
                "SELECT password_hash, roles, disabled FROM staff_user WHERE username = %s",
                (username,),
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        return Credential(
            username=username,
            password_hash=row["password_hash"],
            roles=parse_roles(row["roles"]),
            disabled=row["disabled"],
        )

    async def put_user(
        self, username: str, password_hash: str, roles: frozenset[Role], *, replace: bool
    ) -> bool:
        """Create (or with `replace` change) a user; False if it is there already.

        A changed user is signed out everywhere.
        """
        names = sorted(role.value for role in roles)
        async with self._connections.use() as connection, connection.transaction():
            cursor = await connection.execute(
                "INSERT INTO staff_user (username, password_hash, roles) VALUES (%s, %s, %s)"
                " ON CONFLICT (username) DO NOTHING",
                (username, password_hash, names),
            )
            if cursor.rowcount:
                return True
            if replace:
                await connection.execute(
                    "UPDATE staff_user SET password_hash = %s, roles = %s, disabled = false"
                    " WHERE username = %s",
                    (password_hash, names, username),
                )
                await connection.execute(
                    "DELETE FROM staff_session WHERE username = %s", (username,)
                )
        return replace

    async def open_session(self, session: SessionRow) -> None:
        """Record that a session began; sessions long over are forgotten on the way."""
        async with self._connections.use() as connection, connection.transaction():
            await connection.execute(
                "DELETE FROM staff_session WHERE expires_time_ns < %s", (session.issued_time_ns,)
            )
            await connection.execute(
                "INSERT INTO staff_session (session_id, username, issued_time_ns,"
                " expires_time_ns, seen_time_ns) VALUES (%s, %s, %s, %s, %s)",
                (
                    session.session_id,
                    session.username,
                    session.issued_time_ns,
                    session.expires_time_ns,
                    session.seen_time_ns,
                ),
            )
            await append_audit(
                connection, _entry("sign in", session.username, session.issued_time_ns)
            )

    async def session(self, session_id: str) -> SessionRow | None:
        """The session with its user's roles as they are now."""
        async with self._connections.use() as connection:
            cursor = await connection.execute(
                "SELECT s.*, u.roles, u.disabled FROM staff_session s"
                " JOIN staff_user u USING (username) WHERE session_id = %s",
                (session_id,),
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        return SessionRow(
            session_id=str(row["session_id"]),
            username=row["username"],
            roles=parse_roles(row["roles"]),
            issued_time_ns=row["issued_time_ns"],
            expires_time_ns=row["expires_time_ns"],
            seen_time_ns=row["seen_time_ns"],
            ended=row["disabled"] or row["revoked_time_ns"] is not None,
        )

    async def touch_session(self, session_id: str, now_ns: int) -> None:
        """Note that the session was used."""
        async with self._connections.use() as connection:
            await connection.execute(
                "UPDATE staff_session SET seen_time_ns = greatest(seen_time_ns, %s)"
                " WHERE session_id = %s",
                (now_ns, session_id),
            )

    async def end_session(self, session_id: str, username: str, now_ns: int) -> None:
        """End the session now, wherever its token is kept."""
        async with self._connections.use() as connection, connection.transaction():
            await connection.execute(
                "UPDATE staff_session SET revoked_time_ns = %s WHERE session_id = %s",
                (now_ns, session_id),
            )
            await append_audit(connection, _entry("sign out", username, now_ns))

    async def note_refused(self, username: str, now_ns: int) -> None:
        """Record a sign-in that was refused."""
        async with self._connections.use() as connection, connection.transaction():
            await append_audit(connection, _entry("sign in refused", username[:64], now_ns))


def _entry(action: str, username: str, time_ns: int) -> AuditEntry:
    return AuditEntry(actor=username, action=action, subject="session", detail="", time_ns=time_ns)
