"""The stub model behaves as it is told, over real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import ClientError, ClientSession

from workers.local.stub_model import Calls, Faults, StubModel, serving

ASK = {"model": "m", "messages": [{"role": "user", "content": "a secret question"}]}


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


async def ask(
    client: ClientSession, url: str, call_id: str = "m1", **body: Any
) -> tuple[int, bytes, str | None]:
    request = client.post(
        f"{url}/chat/completions", data=orjson.dumps({**ASK, **body}), headers={"x-request-id": call_id}
    )
    async with request as response:
        return response.status, await response.read(), response.headers.get("retry-after")


async def test_an_answer_is_a_chat_completion_that_repeats_nothing_of_the_prompt(
    client: ClientSession,
) -> None:
    async with serving(StubModel()) as url:
        status, data, _ = await ask(client, url)
    answer = orjson.loads(data)
    assert status == 200
    assert answer["model"] == "m"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] > 0
    assert b"secret" not in data


async def test_echo_answers_with_the_last_message(client: ClientSession) -> None:
    async with serving(StubModel(echo=True)) as url:
        _, data, _ = await ask(client, url)
    assert orjson.loads(data)["choices"][0]["message"]["content"] == "a secret question"


async def test_a_stream_is_the_same_answer_in_pieces(client: ClientSession) -> None:
    async with serving(StubModel(Faults(chunk_delay_ms=1))) as url:
        _, data, _ = await ask(client, url, stream=True)
    events = [event.removeprefix(b"data: ") for event in data.split(b"\n\n") if event]
    assert events.pop() == b"[DONE]"
    choices = [choice for event in events for choice in orjson.loads(event)["choices"]]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    assert text == "This is the stub model: it has no opinion, but it has answered."


async def test_calls_and_answers_are_counted_by_request_id(client: ClientSession) -> None:
    stub = StubModel()
    async with serving(stub) as url:
        for call_id in ("a", "a", "b"):
            await ask(client, url, call_id)
        stub.faults = Faults(error_rate=1)
        await ask(client, url, "b")
        async with client.get(url.removesuffix("/v1") + "/stub/calls") as page:
            report = await page.json()
    assert report == {
        "total": 4,
        "answered": 3,
        "ids": 2,
        "repeated": {"a": 2, "b": 2},
        "paid_twice": {"a": 2},
    }


async def test_an_error_has_the_status_code_and_retry_after_it_was_given(client: ClientSession) -> None:
    faults = Faults(error_rate=1, error_status=429, error_code="slow_down", retry_after="7")
    async with serving(StubModel(faults)) as url:
        status, data, retry_after = await ask(client, url)
    assert (status, retry_after) == (429, "7")
    assert orjson.loads(data)["error"]["code"] == "slow_down"


async def test_faults_change_while_it_runs_and_bad_ones_are_refused(client: ClientSession) -> None:
    async with serving(StubModel()) as url:
        faults = url.removesuffix("/v1") + "/stub/faults"
        async with client.post(faults, data=b'{"half_json_rate": 1}') as changed:
            _, half, _ = await ask(client, url)
        async with client.post(faults, data=b'{"half_jason_rate": 1}') as refused:
            pass
    assert (changed.status, refused.status) == (200, 400)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(half)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reset_ends_without_an_answer(client: ClientSession, stream: bool) -> None:
    async with serving(StubModel(Faults(reset_rate=1))) as url:
        with pytest.raises(ClientError):
            await ask(client, url, stream=stream)


async def test_the_same_seed_draws_the_same_faults(client: ClientSession) -> None:
    runs = []
    for _ in range(2):
        async with serving(StubModel(Faults(error_rate=0.5), seed=7)) as url:
            runs.append([(await ask(client, url))[0] for _ in range(20)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 500}


def test_the_oldest_ids_are_forgotten() -> None:
    calls = Calls(remember=2)
    for call_id in ("a", "b", "c", "a"):
        calls.asked(call_id)
    assert calls.report()["ids"] == 2
    assert calls.report()["repeated"] == {}


async def test_pieces_are_as_long_and_break_off_where_they_are_told_to(client: ClientSession) -> None:
    async with serving(StubModel(Faults(piece_chars=10, half_json_rate=1, break_after=3))) as url:
        _, data, _ = await ask(client, url, stream=True)
    events = [orjson.loads(event.removeprefix(b"data: ")) for event in data.split(b"\n\n") if event]
    texts = [event["choices"][0]["delta"]["content"] for event in events]
    assert texts == ["This is th", "e stub mod", "el: it has"]


async def test_the_first_tool_is_called_and_several_answers_are_given_where_asked_for(
    client: ClientSession,
) -> None:
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    async with serving(StubModel(Faults(tool_calls=True))) as url:
        _, data, _ = await ask(client, url, tools=tools, n=2)
        refused, _, _ = await ask(client, url, tools=[])
    choices = orjson.loads(data)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert choices[0]["message"]["tool_calls"][0]["function"]["name"] == "look_up"
    assert refused == 400
