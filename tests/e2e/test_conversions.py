"""Every way in with every backend, in one running fleet with real clients: plain, in pieces, and each failure."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.errors import ErrorClass
from tests.backs import (
    STATUSES,
    TEXT,
    Back,
    grpc_service,
    http_service,
    kafka_service,
    led,
    websocket_service,
)
from tests.contract.backend_targets import grpc_target, http_target, kafka_target, websocket_target
from tests.fleet import Fleet, running_fleet
from tests.fronts import Client, Grpc, Told, clients
from tests.gateways import running_gateway
from tests.support import create_topic, eventually, unique
from workers.core.topology.model import Target
from workers.local.stub_model import TEXT as STUB_TEXT

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRONTS = ("rest", "openai", "websocket", "grpc", "kafka")
ANSWERS = {
    "llm": STUB_TEXT,
    "http": TEXT,
    "websocket": TEXT,
    "grpc": TEXT,
    "kafka": TEXT,
    "sql": "Order 20240501: 运输中",
}
STREAMING = ("llm", "http", "websocket", "grpc")
# What is put off until its deadline rather than answered (429, 503) is tried on each backend alone.
CLASSES = [
    each
    for each in STATUSES
    if each not in {ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED, ErrorClass.TIMEOUT}
]
QUESTION = "where is order 20240501?"
# A test of failures must not be what takes a target out of service.
POLICIES: dict[str, Any] = {
    "timeout": "60s",
    "retry": {"attempts": 1, "initial": "20ms", "max": "20ms", "hold_up_to": "20ms"},
    "breaker": {"min_calls": 100_000},
    "valve": {"min_messages": 1_000_000},
}


@dataclass
class Site:
    """The fleet, a client of each front, and the services behind."""

    fleet: Fleet
    clients: dict[str, Client]
    backs: dict[str, Back]

    def misbehave(self, back: str, error_class: ErrorClass | None) -> None:
        """Fail with this class from now on; with None behave again."""
        if back == "llm":
            codes = {
                ErrorClass.CONTENT_FILTER: "content_filter",
                ErrorClass.CONTEXT_LENGTH: "context_length_exceeded",
            }
            status = 400 if error_class in codes or error_class is None else STATUSES[error_class]
            faults = {
                "error_rate": 1,
                "error_status": status,
                "error_code": error_class and codes.get(error_class),
            }
            self.fleet.misbehave(**(faults if error_class is not None else {}))
        elif error_class is None:
            self.backs[back].do = "answer"
        else:
            self.backs[back].do, self.backs[back].fail = "fail", error_class


def _settings(target: Target) -> dict[str, Any]:
    """A target as the file says it; the keys of the instances are none that it may hold."""
    settings = target.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    for instance in settings.get("instances", ()):
        instance.pop("api_key", None)
    return {**settings, **POLICIES}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(kafka: str, tmp_path_factory: pytest.TempPathFactory, orders: Path) -> AsyncIterator[Site]:
    backs = {name: Back() for name in ("http", "websocket", "grpc", "kafka")}
    asked, answered = (create_topic(kafka, unique(name), 2) for name in ("asked", "answered"))
    await eventually(lambda: led(kafka, asked) and led(kafka, answered))
    async with (
        http_service(backs["http"]) as http,
        websocket_service(backs["websocket"]) as websocket,
        grpc_service(backs["grpc"]) as (grpc, _),
    ):
        targets: dict[str, Any] = {
            "http": _settings(http_target(http)),
            "websocket": _settings(websocket_target(websocket)),
            "grpc": _settings(grpc_target(grpc)),
            "kafka": _settings(kafka_target(kafka, asked, answered)),
            "sql": {
                "type": "sql",
                "dsn": f"sqlite:///{orders}",
                "query": "select status from orders where order_id = :order_id",
                "parameters": {"order_id": {"pattern": r"\d{6,}"}},
                "answer": "Order {order_id}: {status}",
                **POLICIES,
            },
        }
        with kafka_service(backs["kafka"], kafka, asked, answered):
            async with running_fleet(
                kafka,
                tmp_path_factory.mktemp("fleet"),
                target=POLICIES,
                targets=targets,
                more={"gateway": {"confirm": "30s", "wait": "60s"}},
            ) as fleet:
                await asyncio.gather(fleet.add("router"), fleet.add("worker"))
                async with running_gateway(fleet) as gateway, clients(fleet, gateway) as opened:
                    yield Site(fleet, opened, backs)


@pytest.mark.parametrize("back", ANSWERS)
@pytest.mark.parametrize("front", FRONTS)
async def test_a_question_is_answered(site: Site, front: str, back: str) -> None:
    told = await site.clients[front].ask(back, QUESTION)
    assert (told.text, told.error) == (ANSWERS[back], None)


@pytest.mark.parametrize("back", ANSWERS)
@pytest.mark.parametrize("front", FRONTS)
async def test_an_answer_comes_in_pieces_where_its_backend_gives_pieces(
    site: Site, front: str, back: str
) -> None:
    told = await site.clients[front].ask(back, QUESTION, stream=True)
    assert (told.text, told.error) == (ANSWERS[back], None)
    if back in STREAMING:
        assert len(told.pieces) > 1
        assert "".join(told.pieces) == told.text


@pytest.mark.parametrize("error_class", CLASSES)
@pytest.mark.parametrize("back", ["llm", "http", "websocket", "grpc", "kafka"])
async def test_a_failure_has_the_same_class_at_every_front(
    site: Site, back: str, error_class: ErrorClass
) -> None:
    site.misbehave(back, error_class)
    try:
        told = await asyncio.gather(*(site.clients[front].ask(back, QUESTION) for front in FRONTS))
        streamed = await asyncio.gather(
            *(site.clients[front].ask(back, QUESTION, stream=True) for front in FRONTS)
        )
    finally:
        site.misbehave(back, None)
    assert [each.error for each in (*told, *streamed)] == [error_class] * 2 * len(FRONTS)


@pytest.mark.parametrize(
    ("question", "error_class"),
    [("where is order 999999?", ErrorClass.UPSTREAM_4XX), ("where is it?", ErrorClass.SCHEMA)],
)
async def test_a_database_that_knows_nothing_fails_the_same_at_every_front(
    site: Site, question: str, error_class: ErrorClass
) -> None:
    told = await asyncio.gather(*(site.clients[front].ask("sql", question) for front in FRONTS))
    assert [each.error for each in told] == [error_class] * len(FRONTS)


async def test_many_questions_in_one_message_have_each_an_outcome_of_their_own(site: Site) -> None:
    front = site.clients["grpc"]
    assert isinstance(front, Grpc)
    outcomes = {
        **{(back, QUESTION): Told(text) for back, text in ANSWERS.items()},
        ("http", QUESTION): Told(error=ErrorClass.CONTENT_FILTER),
        ("sql", "where is it?"): Told(error=ErrorClass.SCHEMA),
        ("nowhere", QUESTION): Told(error=ErrorClass.UNROUTABLE),
    }
    asked = list(outcomes) * 5
    site.misbehave("http", ErrorClass.CONTENT_FILTER)
    try:
        told = await front.ask_many(asked)
    finally:
        site.misbehave("http", None)
    assert told == [outcomes[each] for each in asked]
