"""What the sections make of what they measured, and the keys that scripts rely on."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import Told, in_words, sections
from benchmarks.fleet import kept_for
from benchmarks.sections import peers, ramp, recover, run, soak
from benchmarks.store import read_lines
from benchmarks.targets import TARGETS, reached
from benchmarks.watch import MACHINE, Sample, Use, busiest, used

RECOVER_KEYS = {"sent", "lost", "duplicates", "paid_twice", "first_outcome_s", "full_recovery_s"}


def _times(rate: float = 100.0, seconds: float = 10.0) -> Any:
    return np.arange(rate * seconds) / rate


def _outage(start: float, end: float) -> tuple[Any, Any]:
    """Messages at 100/s, answered after 10 ms but for an outage, after which the backlog comes at 1,000/s."""
    intended = _times()
    arrived = intended + 0.01
    held = (intended >= start) & (intended < end + 0.5)
    waiting = end + np.arange(np.count_nonzero(held)) / 1000
    arrived[held] = np.maximum(arrived[held], waiting)
    return intended, arrived


def test_the_first_outcome_is_of_a_message_that_was_sent_after_the_kill() -> None:
    intended, arrived = _outage(3.0, 5.0)
    arrived[299] = 3.2  # sent before the kill, still on its way
    assert recover.first_outcome(intended, arrived, 3.0) == pytest.approx(2.0)


def test_recovery_is_full_when_no_more_messages_wait_than_before() -> None:
    intended, arrived = _outage(3.0, 5.0)
    found = recover.full_recovery(intended, arrived, 3.0)
    assert found is not None
    assert 2.1 < found < 2.6


def test_what_never_recovers_has_no_time() -> None:
    intended = _times()
    arrived = np.where(intended < 3, intended + 0.01, np.nan)
    assert recover.first_outcome(intended, arrived, 3.0) is None
    assert recover.full_recovery(intended, arrived, 3.0) is None


def test_a_kill_counts_from_when_the_part_was_gone_so_that_no_outcome_after_it_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone: list[float] = []
    nothing = lambda *_: None  # noqa: E731 - what a part that comes back needs
    kill_ = lambda _: gone.append(time.monotonic())  # noqa: E731 - the moment at which it is gone
    made: Any = SimpleNamespace(kill=kill_, revive=nothing, until_ready=nothing, parts={"worker": None})
    monkeypatch.setattr(recover, "RESTARTED_AFTER", 0.0)
    kill = recover.Kill(made, "worker", after=0.0)
    kill.schedule(time.monotonic())
    kill.wait()
    assert kill.at >= gone[0]


def test_the_backlog_is_what_was_sent_and_has_no_outcome() -> None:
    intended, arrived = _outage(3.0, 5.0)
    assert recover.backlog(intended, arrived, np.asarray([2.0, 4.0])).tolist() == pytest.approx(
        [1, 101], abs=1
    )


def _recovery(fault: str, **changes: Any) -> recover.Recovery:
    fields: dict[str, Any] = {
        "fault": fault,
        "sent": 100,
        "lost": 0,
        "duplicates": 2,
        "paid_twice": 1,
        "failed": 0,
        "first_outcome_s": 1.5,
        "full_recovery_s": 3.0,
        "worst_ms": 1500.0,
    }
    return recover.Recovery(**{**fields, **changes})


def test_recover_prints_the_keys_that_scripts_rely_on_summed_and_the_worst_of_times() -> None:
    rows = [_recovery("worker"), _recovery("backend", paid_twice=None, first_outcome_s=4.0)]
    found = recover.totals(rows)
    assert found.keys() == RECOVER_KEYS
    assert (found["sent"], found["duplicates"], found["paid_twice"]) == (200, 4, 1)
    assert (found["first_outcome_s"], found["full_recovery_s"]) == (4.0, 3.0)


def test_one_fault_that_never_recovered_is_not_hidden_by_the_others() -> None:
    rows = [_recovery("worker"), _recovery("router", full_recovery_s=None)]
    assert recover.totals(rows)["full_recovery_s"] is None


def test_peers_prints_ratios_to_every_peer_and_why_one_is_missing() -> None:
    rates = {"relayfleet": [900.0, 1000.0, 1100.0], "faststream": [100.0], "quix": [500.0], "bare": [2000.0]}
    found = peers.told(rates, {"faust": "could not be installed"}, 30_000.0)
    assert found["ratios"] == {"faststream": 10.0, "quix": 2.0, "faust": None, "bare": 0.5, "litellm": None}
    assert found["rates"]["relayfleet"] == 1000.0
    assert found["skipped"] == {"faust": "could not be installed"}


def test_the_gateway_path_is_compared_with_our_gateway() -> None:
    rates = {"relayfleet": [9000.0], "relayfleet gateway": [1500.0], "litellm": [150.0]}
    assert peers.told(rates, {}, 1.0)["ratios"]["litellm"] == 10.0


def test_every_peer_has_its_features_listed() -> None:
    assert peers.FEATURES.keys() == {"relayfleet", *peers.NAMES}
    assert len({len(features) for features in peers.FEATURES.values()}) == 1


def _rows(hours: float, slope: float, name: str = "worker") -> list[dict[str, Any]]:
    """Samples a minute of one process that grows by `slope` MB an hour."""
    dice = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for minute in range(int(hours * 60)):
        grown = 100 + slope * minute / 60 + dice.normal(0, 0.1)
        fields = {"rss_mb": grown, "cpu_share": 0.3 + dice.normal(0, 0.01), "fds": 20, "threads": 4}
        rows.append({"kind": "process", "name": name, "elapsed": minute * 60.0, "segment": 0, **fields})
    traffic = {"sent": 10, "achieved": 1.0, "lost": 0, "errors": 0, "duplicates": 0}
    latency = {"p99": 12.0, "count": 10}
    rows.append({"kind": "lag", "elapsed": hours * 3600, "segment": 0, "lag": {"a": 3, "b": 4}})
    rows.append({"kind": "traffic", "elapsed": hours * 3600, "segment": 0, **traffic, "latency_ms": latency})
    return rows


@pytest.mark.parametrize("name", ["worker", "redis", "broker"])
@pytest.mark.parametrize(("grows", "leaks"), [(0.0, []), (20.0, ["memory"])])
def test_a_soak_says_who_leaks_what(grows: float, leaks: list[str], name: str) -> None:
    found = soak.judged(_rows(2.0, grows, name), warmup=600.0)
    assert found["leaks"] == [f"{name} ({what})" for what in leaks]
    assert found["lag_max"] == 7


def test_what_a_short_soak_can_not_tell_is_said() -> None:
    found = soak.judged(_rows(0.4, 0.0), warmup=600.0)
    assert found["not_known_yet"] == ["worker (memory)", "worker (descriptors)", "worker (threads)"]


def test_a_soak_whose_samples_were_held_up_still_has_one_at_both_ends_of_a_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]

    def span(*_: object) -> Any:
        """Ten minutes in which no sample is taken."""
        now[0] += 600.0
        return SimpleNamespace(summary=dict)

    empty = dict.fromkeys(("sent", "achieved", "lost", "errors", "duplicates"), 0)
    monkeypatch.setattr(soak, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(soak, "call", span)
    monkeypatch.setattr(soak, "_kept", lambda _: {**empty, "latency_ms": {}})
    monkeypatch.setattr(soak, "look", lambda _: [Sample("worker", 1, now[0], now[0] / 10, 50.0, 20, 4)])
    monkeypatch.setattr(soak, "lags", lambda *_: {"group": 0})
    kafka = SimpleNamespace(bootstrap="")
    made: Any = SimpleNamespace(gateway_url="", groups=(), kafka=kafka, pids=dict)
    path = tmp_path / "soak.ndjson"
    soak._Segment(made, soak.Plan(seconds=600.0), 0.0, 0, path, lambda line: None).run()
    assert soak.judged(list(read_lines(path)), 0.0)["slopes"].keys() == {"worker"}


def test_a_soak_forgets_half_way_through_its_warm_up_and_says_so() -> None:
    shape = soak.shaped(soak.Plan(warmup=600.0))
    assert shape.as_dict()["remember"] == 300.0
    assert kept_for(shape.remember) == {"once": {"window": 300.0}, "gateway": {"answers": {"keep": 300.0}}}
    assert kept_for(None) == {}


@pytest.mark.parametrize(("hours", "met"), [(1.1, None), (1.3, True)])
def test_an_hour_of_soak_is_one_after_the_warm_up(hours: float, met: bool | None) -> None:
    found = soak.judged(_rows(hours, 0.0), warmup=600.0)
    (row,) = (row for row in reached({"soak": {"results": found}}) if row.what.startswith("memory"))
    assert row.met is met


@pytest.mark.parametrize(
    ("verdicts", "met"),
    [(("flat", "flat"), True), (("flat", "not known yet"), None), (("leak", "not known yet"), False)],
)
def test_a_soak_reaches_its_goal_where_every_process_is_known_to_be_flat(
    verdicts: tuple[str, str], met: bool | None
) -> None:
    slopes = {
        name: {"rss_mb": {"per_hour": 0.5, "mean": 100.0, "hours": 0.998, "verdict": verdict}}
        for name, verdict in zip(("worker", "redis"), verdicts, strict=True)
    }
    (row,) = (
        row for row in reached({"soak": {"results": {"slopes": slopes}}}) if row.what.startswith("memory")
    )
    assert row.met is met
    assert "worker +0.50%" in row.measured


def test_what_a_soak_through_the_gateway_does_not_count_is_not_zero() -> None:
    rows = [{**row, "lost": None} if row["kind"] == "traffic" else row for row in _rows(2.0, 0.0)]
    assert soak.judged(rows, 600.0)["lost"] is None


def test_a_warm_up_belongs_to_no_slope() -> None:
    rows = _rows(2.0, 0.0)
    for row in rows[:10]:
        row["rss_mb"] = 10.0
    assert soak.judged(rows, warmup=600.0)["slopes"]["worker"]["rss_mb"]["per_hour"] == pytest.approx(
        0, abs=0.2
    )


def _step(users: int, p99: float, errors: int = 0) -> Mapping[str, Any]:
    return {"users": users, "requests": 100, "errors": errors, "latency_ms": {"p99": p99}}


def test_a_ramp_says_where_latency_bends_and_errors_start() -> None:
    use = {"gateway": Use(1.0, 0.97, 1, 1, 1), "load": Use(1.0, 0.4, 1, 1, 1)}
    found = ramp.judged([_step(100, 210), _step(500, 300), _step(1000, 900, errors=4)], use)
    assert (found["bends_at"], found["errors_from"]) == (1000, 1000)
    assert found["bottleneck"].startswith("gateway")
    assert not found["generator_was_busy"]


def test_a_load_generator_that_is_busy_itself_is_said() -> None:
    found = ramp.judged([_step(100, 210)], {"load": Use(1.0, 0.99, 1, 1, 1)})
    assert found["generator_was_busy"]


def test_a_machine_that_others_use_is_told_from_a_process_at_its_limit() -> None:
    mine = {"worker": Use(1.0, 0.5, 1, 1, 1)}
    assert busiest(mine).startswith("no CPU")
    assert "others on this machine" in busiest({**mine, MACHINE: Use(1.0, 64.0, 1, 1, 1)})


def test_no_result_means_not_measured_and_never_reached() -> None:
    rows = reached({})
    assert len(rows) == len(TARGETS)
    assert {row.met for row in rows} == {None}


class _Seen:
    """A load of a rate, of which `share` came."""

    use: Mapping[str, Use] = {}

    def __init__(self, rate: float, share: float) -> None:
        self._rate, self._share = rate, share

    def achieved(self) -> float:
        return self._rate * self._share

    def summary(self) -> dict[str, Any]:
        latency = {"p50": 1.0, "p99": 5.0, "max": 9.0, "count": 10}
        return {
            "offered": self._rate,
            "achieved": self.achieved(),
            "latency_ms": latency,
            "errors": 0,
            "error_rate": 0.0,
        }


def test_a_burst_whose_outcomes_were_all_seen_in_one_moment_has_no_rate() -> None:
    assert run.rate_of_burst([7.0] * 500) == 0.0
    assert run.rate_of_burst([]) == 0.0
    assert run.rate_of_burst([number / 1000 for number in range(1001)]) == pytest.approx(1000, rel=0.01)


def test_one_sample_alone_counts_from_the_one_before_the_load() -> None:
    samples = [Sample("worker", 1, at, cpu, 50.0, 20, 4) for at, cpu in ((0.0, 1.0), (1.0, 2.0), (9.0, 6.0))]
    assert used(samples, since=3.0)["worker"].cpu_seconds == 4.0
    assert used(samples, since=0.5)["worker"].cpu_seconds == 4.0
    assert used(samples, since=10.0) == {}


@pytest.mark.parametrize(
    ("shares", "knee", "points"),
    [
        ([1, 1, 1], 400, 3),
        ([1, 0.5, 1, 1], 400, 3),  # once too much, and then not
        ([1, 0.5, 0.5], 100, 2),
        ([0.5, 0.5], None, 1),
    ],
)
def test_rates_rise_until_one_is_too_much_twice(shares: list[float], knee: float | None, points: int) -> None:
    left = iter(shares)
    plan = run.Plan(rates=(100, 200, 400))
    drive: Any = lambda rate: _Seen(rate, next(left))  # noqa: E731 - a word for what is driven
    found = run.rising(plan, drive, "topic", lambda line: None)
    assert (found["knee"], len(found["sweep"])) == (knee, points)
    assert next(left, None) is None


def test_every_section_has_a_short_and_a_full_form() -> None:
    short, full = (sections("127.0.0.1:1", full=form) for form in (False, True))
    assert short.keys() == full.keys()
    assert all("--short" in command for command in short.values())
    assert not any("--short" in command for command in full.values())


def test_how_long_each_section_took_and_which_failed_is_told() -> None:
    said = in_words({"run": Told(61.4, 0), "soak": Told(300.0, None), "peers": Told(2.0, 1)}, 363.0)
    run_, soak_, peers_, together = said.splitlines()
    assert run_.split() == ["run", "61", "s"]
    assert "too long" in soak_
    assert "FAILED with 1" in peers_
    assert together.split() == ["together", "363", "s"]
