"""Foreign errors and headers in the fleet's own classes."""

import inspect
import sqlite3

import pytest
import sqlalchemy.exc

from schemas.errors import ErrorClass
from workers.backends.http_errors import MAX_RETRY_AFTER, retry_after
from workers.backends.sql_engine import DBAPI, translate_sqlalchemy
from workers.core.errors import MessageError, PermanentError, TransientError

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def test_every_database_exception_of_sqlalchemy_has_a_class() -> None:
    everything = {
        kind
        for _, kind in inspect.getmembers(sqlalchemy.exc, inspect.isclass)
        if issubclass(kind, sqlalchemy.exc.DBAPIError)
    }
    assert everything - set(DBAPI) == set()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60.0),
        ({"retry-after": "Tuesday, 14-Nov-23 22:14:20 GMT"}, 60.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "99999999999"}, MAX_RETRY_AFTER),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": "Tue, 99 Nov 2023 22:14:20 GMT"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_both_forms_of_retry_after_are_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers.get, NOW) == seconds


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("a CANARY statement")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_NAME"
    return error


@pytest.mark.parametrize(
    ("code", "error_class", "kind"),
    [
        (sqlite3.SQLITE_BUSY, ErrorClass.OVERLOADED, TransientError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, ErrorClass.OVERLOADED, TransientError),
        (sqlite3.SQLITE_CANTOPEN, ErrorClass.CONNECT, TransientError),
        (sqlite3.SQLITE_ERROR, ErrorClass.UPSTREAM_4XX, PermanentError),
        (sqlite3.SQLITE_READONLY, ErrorClass.UPSTREAM_4XX, PermanentError),
        (sqlite3.SQLITE_NOTADB, ErrorClass.UPSTREAM_5XX, TransientError),
    ],
)
def test_sqlites_result_codes_tell_more_than_its_exceptions(
    code: int, error_class: ErrorClass, kind: type[MessageError]
) -> None:
    with pytest.raises(kind) as caught, translate_sqlalchemy("orders.db"):
        raise sqlalchemy.exc.OperationalError("select CANARY", {"p": "CANARY"}, sqlite_error(code))
    assert isinstance(caught.value, MessageError)
    assert caught.value.error_class is error_class
    assert "CANARY" not in str(caught.value)


def test_a_full_pool_is_an_overload_and_a_refused_connection_is_named() -> None:
    with pytest.raises(TransientError, match="in use"), translate_sqlalchemy("db"):
        raise sqlalchemy.exc.TimeoutError
    with pytest.raises(TransientError, match="ConnectionRefusedError"), translate_sqlalchemy("db"):
        raise ConnectionRefusedError
