"""Foreign errors and headers in the fleet's own classes."""

import inspect
import sqlite3

import pytest
import sqlalchemy.exc
from pyreqwest import exceptions as foreign

from schemas.errors import ErrorClass
from workers.backends.http_errors import MAX_RETRY_AFTER, PYREQWEST, retry_after, translate_pyreqwest
from workers.backends.sql_engine import DBAPI, translate_sqlalchemy
from workers.core.errors import MessageError, PermanentError, TransientError

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def test_every_exception_of_pyreqwest_has_a_class() -> None:
    everything = {
        kind
        for _, kind in inspect.getmembers(foreign, inspect.isclass)
        if issubclass(kind, foreign.PyreqwestError)
    }
    assert everything
    assert everything - set(PYREQWEST) == set()


def test_every_database_exception_of_sqlalchemy_has_a_class() -> None:
    everything = {
        kind
        for _, kind in inspect.getmembers(sqlalchemy.exc, inspect.isclass)
        if issubclass(kind, sqlalchemy.exc.DBAPIError)
    }
    assert everything - set(DBAPI) == set()


def raised_http(error: Exception) -> MessageError:
    with pytest.raises(MessageError) as caught, translate_pyreqwest("host:1"):
        raise error
    return caught.value


def test_a_connect_timeout_is_one_only_where_it_was_connecting() -> None:
    connecting = foreign.ConnectTimeoutError("", {"causes": [{"message": "client error (Connect)"}]})
    waiting = foreign.ConnectTimeoutError("", {"causes": [{"message": "operation timed out"}]})
    assert raised_http(connecting).error_class is ErrorClass.CONNECT
    assert raised_http(waiting).error_class is ErrorClass.TIMEOUT


def test_a_connection_that_breaks_within_the_answer_is_no_decoding_error() -> None:
    broken = foreign.BodyDecodeError("", {"causes": [{"message": "error reading a body from connection"}]})
    garbled = foreign.BodyDecodeError("", {"causes": [{"message": "Invalid gzip header"}]})
    assert raised_http(broken).error_class is ErrorClass.CONNECT
    assert raised_http(garbled).error_class is ErrorClass.UPSTREAM_5XX


def test_what_http_does_not_allow_is_refused_for_good() -> None:
    assert isinstance(raised_http(ValueError("failed to parse header value")), PermanentError)


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
