"""Connections to the store, and what its errors mean to us."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any, Final, Protocol, Self

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from cloud_api.core.errors import StoreAwayError
from wardstream.contracts.errors import ContractError

Connection = psycopg.AsyncConnection[DictRow]

_OPTIONS: Final[dict[str, Any]] = {
    "autocommit": True,
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
    # A statement that hangs must not hang the alarm path; PostgreSQL ends it for us, for a
    # cancelled Python task alone would leave it running.
    "options": "-c statement_timeout=5000 -c timezone=UTC",
}


@contextmanager
def store_errors() -> Generator[None]:
    """Translate what psycopg raises; the one table of it.

    Raises
    ------
    StoreAwayError
        The server is away, overloaded, or has not been migrated to this version yet.
    ContractError
        The server understood and will never take these values.
    """
    try:
        yield
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.UndefinedColumn,
        psycopg.errors.UndefinedFunction,
    ) as error:
        raise StoreAwayError(f"the database lacks this version's schema: {error}") from error
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise ContractError(f"the store refuses it: {error}") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreAwayError(f"the database is away: {error}") from error
    except (PoolTimeout, PoolClosed, TooManyRequests, TimeoutError, OSError) as error:
        raise StoreAwayError(f"no database connection: {error}") from error


class ConnectionSource(Protocol):
    """Lends a connection for the length of a ``with`` block, with errors translated."""

    def use(self) -> AbstractAsyncContextManager[Connection]:
        """A connection outside any transaction."""
        ...


class KeptConnection:
    """One connection for one task, opened when needed and again after it broke.

    The alarm path has its own, so that no burst of page requests can keep it waiting.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connection back; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Connection]:
        """The connection, for one task at a time; dropped if anything went wrong with it."""
        async with self._lock:
            with store_errors():
                connection = await self._open()
                try:
                    yield connection
                except BaseException:
                    if connection.broken or not _is_idle(connection):
                        await self.close()
                    raise

    async def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection[DictRow].connect(
                self._url,
                row_factory=dict_row,
                application_name=f"cloud_api {self._name}",
                **_OPTIONS,
            )
        return self._connection


def _is_idle(connection: Connection) -> bool:
    return connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


async def _check(connection: Connection) -> None:
    # The pool does not look before it lends; a server that restarted left it dead connections.
    await connection.execute("")


class StorePool:
    """Connections for page requests; bounded, checked, with a bounded wait."""

    def __init__(self, url: str, *, max_size: int = 8) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs={
                **_OPTIONS,
                "row_factory": dict_row,
                "application_name": "cloud_api requests",
            },
            min_size=1,
            max_size=max_size,
            max_waiting=200,
            timeout=3.0,
            reconnect_timeout=10.0,
            check=_check,
            open=False,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close(timeout=3.0)

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Connection]:
        """A connection of the pool."""
        with store_errors():
            async with self._pool.connection() as connection:
                yield connection
