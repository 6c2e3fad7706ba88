"""Connections to a database through SQLAlchemy, and what its errors mean. Reasons never hold SQL, values or a DSN."""

import asyncio
import sqlite3
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import TextClause
from sqlalchemy import exc as foreign
from sqlalchemy.engine import URL, RowMapping, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from schemas.errors import ErrorClass
from workers.core.errors import MessageError, PermanentError, TransientError, UsageError

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "mysql": "mysql+aiomysql",
    "mariadb": "mariadb+aiomysql",
    "oracle": "oracle+oracledb",
    "mssql": "mssql+aioodbc",
}
"""The driver for a DSN that names none: SQLAlchemy's own choice would block the loop."""


class Database:
    """An engine with `size` connections at most, opened when they are first needed.

    A SQLite file is opened read-only and never created; one that was replaced is opened anew.
    """

    def __init__(self, dsn: str, size: int) -> None:
        """Raises `UsageError` for a DSN that can't be used, or whose driver is not installed."""
        url = _url(dsn)
        self._file = _sqlite_file(url)
        self.name = self._file.name if self._file is not None else _place(url)
        self._engine = _engine(url, self._file, size)
        self._identity: tuple[int, int] | None = None
        self._under_way: set[asyncio.Task[Sequence[RowMapping]]] = set()
        self._closed = False

    async def fetch(self, query: TextClause, values: Mapping[str, Any], limit: int) -> Sequence[RowMapping]:
        """The first rows, in a transaction that is rolled back. Raises SQLAlchemy's errors and ours."""
        task = asyncio.create_task(self._ask(query, values, limit))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await task
        except asyncio.CancelledError as cancelled:
            caller = asyncio.current_task()
            if self._closed and caller is not None and not caller.cancelling():
                raise self._let_go() from cancelled
            raise

    async def _ask(self, query: TextClause, values: Mapping[str, Any], limit: int) -> Sequence[RowMapping]:
        if self._closed:
            raise self._let_go()
        if self._file is not None:
            await self._look_at_file(self._file)
        async with self._engine.connect() as connection:
            work = _fetch(connection, query, values, limit)
            return await (work if self._file is None else _interruptible(connection, work))

    async def close(self) -> None:
        """Let go of the connections; calls under way, and later ones, fail as `connect`.

        A pool closes only what is in it: a SQLite connection in use would keep its thread, and that the process.
        """
        self._closed = True
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self._engine.dispose()

    def _let_go(self) -> TransientError:
        return TransientError(ErrorClass.CONNECT, f"{self.name} was let go")

    async def _look_at_file(self, file: Path) -> None:
        """An open connection would go on reading a file that is gone, and never see the one in its place."""
        try:
            status = file.stat()  # noqa: ASYNC240 - microseconds, where a thread would cost more
        except OSError as error:
            raise TransientError(ErrorClass.CONNECT, f"the database file {file.name} is missing") from error
        identity = (status.st_dev, status.st_ino)
        if self._identity not in {None, identity}:
            await self._engine.dispose()
        self._identity = identity


async def _fetch(
    connection: AsyncConnection, query: TextClause, values: Mapping[str, Any], limit: int
) -> Sequence[RowMapping]:
    result = await connection.stream(query, values)
    return await result.mappings().fetchmany(limit)


async def _interruptible(
    connection: AsyncConnection, work: Coroutine[Any, Any, Sequence[RowMapping]]
) -> Sequence[RowMapping]:
    """SQLite works in a thread that no cancellation reaches: it has to be told to stop."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        raw = (await connection.get_raw_connection()).driver_connection
        assert isinstance(raw, aiosqlite.Connection)  # noqa: S101 - our own `connect` made it
        while not task.done():  # until it has: an interrupt that comes before the query is lost
            await raw.interrupt()
            await asyncio.wait({task}, timeout=0.05)
        _ = task.exception()
        raise


def _url(dsn: str) -> URL:
    try:
        url = make_url(dsn)
    except foreign.ArgumentError as error:
        raise UsageError("dsn is not a database URL; write DRIVER://USER:PASSWORD@HOST/DATABASE") from error
    if "+" not in url.drivername:
        url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    return url


def _sqlite_file(url: URL) -> Path | None:
    if not url.drivername.startswith("sqlite"):
        return None
    if not url.database or url.database == ":memory:" or url.query:
        raise UsageError("dsn must name a SQLite file and nothing else: sqlite:///PATH")
    return Path(url.database).absolute()


def _place(url: URL) -> str:
    port = f":{url.port}" if url.port is not None else ""
    return f"{url.host or url.drivername}{port}/{url.database or ''}"


def _engine(url: URL, file: Path | None, size: int) -> AsyncEngine:
    options: dict[str, Any] = {"pool_size": size, "max_overflow": 0, "hide_parameters": True}
    if file is not None:
        address = f"{file.as_uri()}?mode=ro"

        async def connect() -> aiosqlite.Connection:
            return await aiosqlite.connect(address, uri=True)

        options["async_creator"] = connect
    else:
        options["pool_pre_ping"] = True
    if url.drivername.startswith("postgresql"):
        options["execution_options"] = {"postgresql_readonly": True}
    try:
        return create_async_engine(url, **options)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"dsn needs the driver {error.name}, which is not installed: pip install {error.name}"
        ) from error
    except foreign.NoSuchModuleError as error:
        raise UsageError(
            f"dsn names the database {url.drivername!r}, which SQLAlchemy does not know"
        ) from error
    except foreign.InvalidRequestError as error:
        known = ", ".join(_DRIVERS.values())
        raise UsageError(
            f"dsn names {url.drivername}, which would block the worker; use one of {known}"
        ) from error


DBAPI: Mapping[type[foreign.DBAPIError], ErrorClass] = {
    foreign.InterfaceError: ErrorClass.CONNECT,
    foreign.OperationalError: ErrorClass.CONNECT,
    foreign.InternalError: ErrorClass.UPSTREAM_5XX,
    foreign.DatabaseError: ErrorClass.UPSTREAM_5XX,
    foreign.DataError: ErrorClass.UPSTREAM_4XX,
    foreign.IntegrityError: ErrorClass.UPSTREAM_4XX,
    foreign.NotSupportedError: ErrorClass.UPSTREAM_4XX,
    foreign.ProgrammingError: ErrorClass.UPSTREAM_4XX,
    foreign.DBAPIError: ErrorClass.UPSTREAM_5XX,
}
"""What databases raise, by the names that PEP 249 gives them."""

_SQLITE = {
    sqlite3.SQLITE_BUSY: ErrorClass.OVERLOADED,
    sqlite3.SQLITE_LOCKED: ErrorClass.OVERLOADED,
    sqlite3.SQLITE_CORRUPT: ErrorClass.UPSTREAM_5XX,
    sqlite3.SQLITE_NOTADB: ErrorClass.UPSTREAM_5XX,
    sqlite3.SQLITE_ERROR: ErrorClass.UPSTREAM_4XX,  # no such table or column, a syntax error
    sqlite3.SQLITE_READONLY: ErrorClass.UPSTREAM_4XX,
}
"""SQLite calls nearly everything an operational error; its primary result code tells more."""


@contextmanager
def translate_sqlalchemy(name: str) -> Iterator[None]:
    """Turn what SQLAlchemy raises into our errors; `name` is the backend's."""
    try:
        yield
    except foreign.DBAPIError as error:
        raise _of_dbapi(name, error) from error
    except foreign.TimeoutError as error:
        raise TransientError(ErrorClass.OVERLOADED, f"{name} has every connection in use") from error
    except foreign.SQLAlchemyError as error:
        raise PermanentError(ErrorClass.INTERNAL, f"{type(error).__name__} while asking {name}") from error
    except OSError as error:  # drivers let a refused or broken connection through as it is
        raise TransientError(
            ErrorClass.CONNECT, f"{name} can't be reached: {type(error).__name__}"
        ) from error


def _of_dbapi(name: str, error: foreign.DBAPIError) -> MessageError:
    error_class = next(DBAPI[kind] for kind in type(error).__mro__ if kind in DBAPI)
    what = type(error).__name__
    if error.connection_invalidated:
        error_class = ErrorClass.CONNECT
    if isinstance(error.orig, BaseException):
        code = getattr(error.orig, "sqlite_errorcode", None)
        if isinstance(code, int):
            error_class = _SQLITE.get(code & 0xFF, error_class)
            what = getattr(error.orig, "sqlite_errorname", what)
    kind = PermanentError if error_class is ErrorClass.UPSTREAM_4XX else TransientError
    return kind(error_class, f"{name} failed the query: {what}")
