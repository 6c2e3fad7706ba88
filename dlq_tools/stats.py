"""How many dead letters there are, by what."""

from collections.abc import Sequence
from typing import Any

from dlq_tools.index import Index
from dlq_tools.where import Condition
from workers.core.errors import UsageError

DIMENSIONS = {
    "class": "class",
    "stage": "stage",
    "status": "status",
    "target": "target",
    "source": "source",
    "fingerprint": "fingerprint",
    "family": "family",
    "exception": "exception",
    "partition": "partition",
    "replays": "replay_count",
    "state": "state",
    "job": "job",
    "hour": "strftime(date_trunc('hour', failed_at), '%Y-%m-%dT%H:00Z')",
    "day": "strftime(failed_at, '%Y-%m-%d')",
}
"""What can be counted by, with the SQL behind it."""


def parse_dimensions(text: str) -> list[str]:
    """The names in `class,target`. Raises `UsageError` for one that isn't any."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in DIMENSIONS]
    if unknown or not names:
        raise UsageError(f"--by can't be {text!r}: there are {', '.join(DIMENSIONS)}")
    return list(dict.fromkeys(names))


def counts(
    index: Index,
    by: Sequence[str],
    condition: Condition | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> list[dict[str, Any]]:
    """A row a combination, with its `count`: by time in its order, by all else the most frequent first."""
    columns = ", ".join(f'{DIMENSIONS[name]} AS "{name}"' for name in by)
    names = ", ".join(f'"{name}"' for name in by)
    order = names if by[0] in {"hour", "day"} else f'"count" DESC, {names}'
    query = f'SELECT {columns}, count(*) AS "count" FROM chosen GROUP BY ALL ORDER BY {order}'  # noqa: S608 - of our own names alone
    rows = index.rows(query, condition, since_ms, until_ms)
    return [dict(zip((*by, "count"), row, strict=True)) for row in rows]
