"""Metrics, health and logs: what a process shows of itself, and what it must not show."""

import json
import logging
import urllib.error
import urllib.request

import pytest
import structlog

from workers.core.health import Fact, Health, HealthServer
from workers.core.logging import configure_logging
from workers.core.metrics import ANSWERED, Metrics
from workers.core.redact import redact


def _get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_show_what_was_counted() -> None:
    metrics = Metrics()
    metrics.counter(ANSWERED, "llm", "ok").inc(3)
    with HealthServer(Health(), metrics) as server:
        status, body = _get(server.address, "/metrics")
    assert status == 200
    assert 'relayfleet_answered_total{status="ok",target="llm"} 3.0' in body


def test_a_process_that_is_stuck_is_neither_alive_nor_ready() -> None:
    health = Health()
    health.alive_when(lambda: Fact("progress", ok=False, why="no offset moved for 61 s, lag 7"))
    health.ready_when(lambda: Fact("assigned", ok=True))
    with HealthServer(health, Metrics()) as server:
        alive, body = _get(server.address, "/healthz")
        ready, _ = _get(server.address, "/readyz")
    assert (alive, ready) == (503, 503)
    assert json.loads(body)["checks"]["progress"]["why"] == "no offset moved for 61 s, lag 7"


def test_a_process_without_partitions_is_alive_and_not_ready() -> None:
    health = Health()
    health.ready_when(lambda: Fact("assigned", ok=False, why="no partitions yet"))
    with HealthServer(health, Metrics()) as server:
        assert _get(server.address, "/healthz")[0] == 200
        assert _get(server.address, "/readyz")[0] == 503
        assert _get(server.address, "/secrets")[0] == 404


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abcdef123456", "abcdef123456"),
        ("key sk-CANARY0123456789 refused", "CANARY0123456789"),
        ("postgresql://shop:hunter2@db/orders", "hunter2"),
        ("sasl.password=hunter2;", "hunter2"),
        ('{"api_key": "hunter2"}', "hunter2"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, secret: str) -> None:
    assert secret not in redact(text)


def test_no_secret_reaches_the_log_by_field_text_or_exception(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("test", json=True)
    log = structlog.get_logger()
    log.warning("refused sk-CANARY0123456789", password="CANARY-a", nested={"api_key": "CANARY-b"})
    logging.getLogger("library").error("at https://user:CANARY-c@host/ with %s", "Bearer CANARY-dddddd")
    try:
        raise ValueError("token sk-CANARY9876543210")
    except ValueError:
        log.exception("failed")
    written = capsys.readouterr().err
    assert written.count("\n") >= 3
    assert "CANARY" not in written
    assert json.loads(written.splitlines()[0])["process"] == "test"
