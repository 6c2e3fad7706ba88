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
    leaks = ", ".join(found["leaks"]) or "none"
    return [
        Heading("Endurance"),
        Text(
            f"{found['hours']:.2f} hours in {found['segments']} segments: sent {number(found['sent'])}, "
            f"lost {found['lost']}, errors {found['errors']}, p99 {ms(worst.get('median'))} ms "
            f"(worst span {ms(worst.get('worst'))} ms), lag at most {number(found['lag_max'])}. Leaks: {leaks}. "
            "The first part, shaded, warms up and belongs to no slope."
        ),
        Figure("memory", "memory of every process over time", plots.memory(lines, warmup)),
        Table(
            (
                "process",
                "memory MB",
                "slope MB an hour (95 %)",
                "verdict",
                "CPU a hour",
                "descriptors an hour",
            ),
            [_row(name, slopes) for name, slopes in found["slopes"].items()],
        ),
    ]


def _row(name: str, slopes: Section) -> tuple[str, ...]:
    if not slopes:
        return name, "–", "too few samples", "not known yet", "–", "–"
    memory, cpu, fds = slopes["rss_mb"], slopes["cpu_share"], slopes["fds"]
    return (
        name,
        number(memory["mean"], 1),
        f"{memory['per_hour']:+,.1f} ({memory['low']:+,.1f} to {memory['high']:+,.1f})",
        memory["verdict"],
        f"{cpu['per_hour'] * 100:+.1f} %",
        f"{fds['per_hour']:+.1f}",
    )


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
