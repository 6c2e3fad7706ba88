"""`--since` and `--until`: a time, or how long ago."""

import re
from datetime import UTC, datetime

from workers.core.errors import UsageError

_AGO = re.compile(r"(\d{1,9})\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_time(text: str, now_ms: int, option: str) -> int:
    """Epoch milliseconds of `90s`, `30m`, `2h`, `7d`, `1w` (ago) or of an ISO 8601 time, in UTC where it names no zone.

    Raises `UsageError` naming the option.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now_ms - int(ago[1]) * _SECONDS[ago[2]] * 1000
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        failure = UsageError(f"{option} {text!r} is no time: give 30m, 2h, 7d (ago) or 2026-01-31T09:00Z")
    raise failure


def age(milliseconds: int) -> str:
    """A length of time for people: `3 d`, `5 h`, `12 min`, `8 s`."""
    seconds = max(0, milliseconds // 1000)
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
