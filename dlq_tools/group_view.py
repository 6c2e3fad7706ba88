"""Groups for people: a few lines each, the cause last, where the eye stops."""

from collections.abc import Sequence

from rich.text import Text

from dlq_tools.columns import iso
from dlq_tools.group import Group
from dlq_tools.printing import cell, wide_console


def show_groups(groups: Sequence[Group]) -> None:
    """Print them, the most frequent first."""
    out = wide_console()
    if not groups:
        out.print("no dead letters")
    for group in groups:
        out.print(_lines(group))


def _lines(group: Group) -> Text:
    what = " ".join(filter(None, (group.error_class or "unknown", group.stage and f"at {group.stage}")))
    targets = f"  for {', '.join(group.targets)}" if group.targets else ""
    status = "" if group.status is None else f"  status {group.status}"
    when = f"{iso(group.first_ms)} to {iso(group.last_ms)}"
    return Text.assemble(
        (f"{group.count:>9,}  ", "bold"), (what, "bold red"), f"{status}{targets}  fingerprint {group.fingerprint}\n",
        f"           {when}, the latest: {group.example}\n",
        "           ", cell(group.message or "no message"), "\n",
        ("           likely: ", "dim"), group.cause, "\n",
    )  # fmt: skip
