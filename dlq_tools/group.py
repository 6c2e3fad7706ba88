"""Dead letters by fingerprint: like errors together, the most frequent first."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dlq_tools.causes import likely_cause
from dlq_tools.columns import iso
from dlq_tools.index import Index
from dlq_tools.where import Condition

_QUERY = """
SELECT fingerprint, count(*) AS number, epoch_ms(min(failed_at)), epoch_ms(max(failed_at)),
       arg_max(position, failed_at), mode(class), mode(stage), mode(status), mode(exception),
       arg_max(message, failed_at), list_sort(list(DISTINCT target) FILTER (target IS NOT NULL)), mode(family)
FROM chosen GROUP BY fingerprint ORDER BY number DESC, fingerprint LIMIT {limit}
"""


@dataclass(frozen=True, slots=True)
class Group:
    """Letters that failed alike. `example` is the position of the latest; times are epoch milliseconds."""

    fingerprint: str | None
    count: int
    first_ms: int
    last_ms: int
    example: str
    error_class: str | None
    stage: str | None
    status: int | None
    exception: str | None
    message: str | None
    targets: Sequence[str]
    family: str

    @property
    def cause(self) -> str:
        """The likely cause, in a sentence."""
        return likely_cause(self.error_class, self.exception, self.message)

    def public(self) -> dict[str, Any]:
        """For output."""
        fields = asdict(self)
        first, last = fields.pop("first_ms"), fields.pop("last_ms")
        error_class = fields.pop("error_class")
        return {**fields, "class": error_class, "first": iso(first), "last": iso(last), "cause": self.cause}


def groups(
    index: Index,
    condition: Condition | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
    *,
    limit: int = 50,
) -> list[Group]:
    """The groups of the letters that are chosen, at most `limit`."""
    rows = index.rows(_QUERY.format(limit=int(limit)), condition, since_ms, until_ms)
    return [Group(*row) for row in rows]
