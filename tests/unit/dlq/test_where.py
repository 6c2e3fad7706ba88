"""`--where`: what it takes, what it refuses, and how it points at the place."""

import duckdb
import pytest

from dlq_tools.database import look
from dlq_tools.where import parse
from workers.core.errors import UsageError


@pytest.mark.parametrize(
    "text",
    [
        "class = 'timeout'",
        "class in ('timeout', 'connect') and target = 'llm'",
        '"offset" between 3 and 7',
        "failed_at > now() - interval '2 hours'",
        "timestamp >= '2026-01-01' and timestamp < current_timestamp",
        "message like '%30 s%' or message is null",
        "payload.text = 'héllo' and payload.n > 4",
        "payload->>'$.messages[0].role' = 'user'",
        "headers.\"x-tenant\" = 'acme'",
        "regexp_matches(lower(payload.text), 'lap.*')",
        "try(payload.n > 4)",
        "case when status is null then false else status >= 500 end",
        "class = 'timeout' -- those of tonight",
        "position = 'dlq.model_requests:0:3'",
    ],
)
def test_conditions_over_fields_and_json_are_taken(text: str) -> None:
    assert parse(text).text == text


@pytest.mark.parametrize(
    ("text", "reason", "place"),
    [
        ("class = ", "syntax error", 6),
        ("class = 'a' and and source = 'b'", "syntax error", 16),
        ("class like 'a", "unterminated string", 11),
        ("a) or (b", "syntax error", 1),
        ("clas = 'timeout'", "no field clas; did you mean class?", 0),
        ("'é' = 'é' and bogus = 1", "no field bogus", 14),
        ("class.x = 3", "class is text and has no parts", 0),
        ("nope(class)", "no function nope", 0),
        ("random() < 0.5", "no function random", 0),
        ("nextval('x') = 1", "no function nextval", 0),
        ("current_setting('memory_limit') = ''", "no function current_setting", 0),
        ("exists(select 1)", "a subquery", 0),
        ("source in (select 'x')", "a subquery", 10),
        ("class = $1", "a parameter", 8),
        ("count(*) over () > 1", "a window function", 0),
        ("offset > 3", 'write it as "offset"', 0),
        ("class = 'x'; drop table letters", "Only SELECT", 0),
    ],
)
def test_an_error_says_what_and_points_at_the_place(text: str, reason: str, place: int) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    first, shown, mark = str(caught.value).split("\n")
    assert reason in first
    assert shown == f"  {text}"
    assert mark == "  " + " " * place + "^"


def test_in_a_text_of_several_lines_the_line_is_shown() -> None:
    with pytest.raises(UsageError) as caught:
        parse("class = 'a'\n  and bogus = 1")
    assert str(caught.value).endswith("\n    and bogus = 1\n        ^")


@pytest.mark.parametrize(
    "text",
    [
        "true; select 1",
        "true group by 1",
        "true limit 3",
        "true union select 1",
        "true order by 1",
        " ",
        "true having true",
    ],
)
def test_nothing_but_one_condition_is_taken(text: str) -> None:
    with pytest.raises(UsageError, match="--where"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "read_text('/etc/passwd') = 'x'",
        "exists(from read_csv('/etc/passwd'))",
        "source in (select content from read_text('/etc/passwd'))",
        "getenv('HOME') = 'x'",
        "columns(*) = 'x'",
    ],
)
def test_no_expression_reaches_a_file_or_the_environment(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_not_even_a_statement_that_came_through_would_reach_a_file() -> None:
    connection = look(None, None)
    with pytest.raises(duckdb.PermissionException):
        connection.execute("SELECT * FROM read_text('/etc/hostname')")
    with pytest.raises(duckdb.Error):
        connection.execute("SET enable_external_access = true")
    connection.close()
