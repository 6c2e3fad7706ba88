"""What the ledger says of letters, in SQL: the tables that hold it, and what a look at letters takes from them."""

from collections.abc import Mapping

SCHEMA = "ledger"
"""What the database with these tables is called beside an index."""

LETTER = {"topic": "VARCHAR", "partition": "BIGINT", "offset": "BIGINT"}
TABLES = {
    "entries": {
        **LETTER,
        "state": "VARCHAR",
        "at_ms": "BIGINT",
        "who": "VARCHAR",
        "job": "VARCHAR",
        "why": "VARCHAR",
        "replays": "BIGINT",
        "sent_to": "VARCHAR",
        "became": "VARCHAR",
        "twice": "BOOLEAN",
    },
    "claims": {"key": "VARCHAR", "job": "VARCHAR", "at_ms": "BIGINT", **LETTER},
    "mended": {**LETTER, "at_ms": "BIGINT", "who": "VARCHAR", "how": "VARCHAR"},
}
"""Entries and mended copies as the ledger has them last; claims, a row a letter, those that are open."""

COLUMNS = {
    "state": "CASE WHEN claimed.claims IS NOT NULL THEN 'planned' ELSE coalesce(entry.state, 'new') END",
    "state_at": "make_timestamptz(coalesce(claimed.at_ms, entry.at_ms) * 1000)",
    "state_by": "entry.who",
    "state_why": "entry.why",
    "job": "coalesce(claimed.job, entry.job)",
}
"""Names that `--where` may use, and what they are; a letter that a job has claimed is `planned`."""


def create(schema: str | None = None) -> list[str]:
    """The statements that make the tables, in a database of this name or in the one that is open."""
    prefix = "" if schema is None else f"{schema}."
    return [create_table(prefix + name, columns) for name, columns in TABLES.items()]


def create_table(name: str, columns: Mapping[str, str]) -> str:
    """The statement that makes a table of these columns, by name and type."""
    made = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    return f"CREATE TABLE {name} ({made})"


def joined(letters: str, topic: str) -> str:
    """A FROM clause: `letters`, and what the ledger says of each, as `entry` and `claimed`. `topic` is an SQL literal."""
    here = f"topic = {topic}"
    return f"""{letters} AS letters
        LEFT JOIN (SELECT * EXCLUDE (topic) FROM {SCHEMA}.entries WHERE {here}) AS entry USING (partition, "offset")
        LEFT JOIN (
            SELECT partition, "offset", count(*) AS claims, min(at_ms) AS at_ms, arg_min(job, at_ms) AS job
            FROM {SCHEMA}.claims WHERE {here} GROUP BY ALL
        ) AS claimed USING (partition, "offset")"""  # noqa: S608 - our own names
