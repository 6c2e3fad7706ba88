"""What a report says about endurance and recovery."""

from collections.abc import Mapping
from typing import Any

from benchmarks.report import plots
from benchmarks.report.blocks import Block, Figure, Heading, Table, Text, ms, number
from benchmarks.store import Results, read_lines

Section = Mapping[str, Any]


def soak(found: Section, results: Results) -> list[Block]:
    """Memory over time, slopes with their intervals, verdicts."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in read_lines(results.raw / "soak.ndjson"):
        if row["kind"] == "process":
            lines.setdefault(str(row["name"]), []).append((row["elapsed"] / 3600, row["rss_mb"]))
    warmup = float(found["warmup_s"]) / 3600
    worst = found["p99_ms"]
    leaks, unsure = (", ".join(found.get(name, ())) or "none" for name in ("leaks", "not_known_yet"))
    return [
        Heading("Endurance"),
        Text(
            f"{found['hours']:.2f} hours in {found['segments']} segments: sent {number(found['sent'])}, "
            f"lost {number(found['lost'])}, errors {found['errors']}, p99 {ms(worst.get('median'))} ms "
            f"(worst span {ms(worst.get('worst'))} ms), lag at most {number(found['lag_max'])}. Leaks: {leaks}. "
            f"Not known yet: {unsure}. {_load(found)}"
            "The first part, shaded, warms up and belongs to no slope. Slopes are an hour, with their 95 % interval."
        ),
        Figure("memory", "memory of every process over time", plots.memory(lines, warmup)),
        Table(
            (
                "process",
                "memory MB",
                "memory, slope MB",
                "verdict",
                "CPU, slope in points of a core",
                "descriptors, slope",
                "verdict",
            ),
            [_row(name, slopes) for name, slopes in found["slopes"].items()],
        ),
    ]


def _load(found: Section) -> str:
    """What was asked of it; nothing for results of before that was kept."""
    if "users" not in found:
        return ""
    return (
        f"{number(found['users'])} users asked once in {found['pace_s']:g} s each; outcomes and answers were kept for "
        f"{found['remember_s']:g} s, so that Redis is level after the warm-up. "
    )


def _row(name: str, slopes: Section) -> tuple[str, ...]:
    if not slopes:
        return name, "–", "too few samples", "not known yet", "–", "–", "–"
    memory, cpu, fds = slopes["rss_mb"], slopes["cpu_share"], slopes["fds"]
    return (
        name,
        number(memory["mean"], 1),
        _slope(memory),
        memory["verdict"],
        _slope(cpu, 100),
        _slope(fds),
        fds["verdict"],
    )


def _slope(found: Section, times: float = 1) -> str:
    low, middle, high = (found[name] * times for name in ("low", "per_hour", "high"))
    return f"{middle:+,.1f} ({low:+,.1f} to {high:+,.1f})"


def recover(found: Section, _: Results) -> list[Block]:
    """What each kill cost, and outcomes around it."""
    rows = [
        (
            row["fault"],
            number(row["sent"]),
            number(row["lost"]),
            number(row["duplicates"]),
            number(row["paid_twice"]),
            number(row["failed"]),
            number(row["first_outcome_s"], 1),
            number(row["full_recovery_s"], 1),
            ms(row["worst_ms"]),
        )
        for row in found["faults"]
    ]
    columns = (
        "killed",
        "sent",
        "lost",
        "duplicates",
        "paid twice",
        "failed",
        "first outcome s",
        "all well s",
        "slowest ms",
    )
    return [
        Heading("Recovery"),
        Text(
            "Each part of one fleet is killed with SIGKILL under load and started again half a second later, as "
            "`relayfleet up` does; routers, workers and gateways have names that stay over restarts (`--member`). "
            "The load goes from topic to topic; the gateway's goes through it, from clients that ask again under the "
            "same id. The first outcome is that of a message sent after the kill; all is well when no more messages "
            "wait than before it. Seconds count from the kill."
        ),
        Table(columns, rows),
        Figure("recovery", "outcomes a second around each kill", plots.recovery(found["time_lines"])),
    ]
