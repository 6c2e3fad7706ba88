"""Programs written for OpenAI take part without a change: the official client and LangChain, against a running fleet."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import SecretStr

from tests.fleet import Fleet, running_fleet
from tests.processes import ROOT, free_port, get
from tests.support import eventually
from workers.local.stub_model import TEXT

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 60.0
ASK: Any = [{"role": "user", "content": "hello"}]
TOOL: Any = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Fleet, str]]:
    """A fleet with a gateway, and the address of its `/v1`."""
    port = free_port()
    calm = {"timeout": "2m", "breaker": {"min_calls": 1000}}
    target = {**calm, "retry": {"attempts": 3, "initial": "20ms", "max": "50ms"}}
    # With attempts for longer than any client may need to notice that one broke.
    again = {"attempts": 100, "initial": "200ms", "max": "1s", "jitter": "none"}
    async with running_fleet(
        kafka,
        tmp_path_factory.mktemp("fleet"),
        target=target,
        beside={"patient": {**calm, "retry": again}},
        more={"gateway": {"confirm": "30s"}},
    ) as fleet:
        await asyncio.gather(
            fleet.add("router"), fleet.add("worker"), fleet.add("gateway", "--port", str(port))
        )
        yield fleet, f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def fleet(site: tuple[Fleet, str]) -> Fleet:
    """The fleet, with a stub model that behaves again."""
    site[0].misbehave()
    return site[0]


@pytest_asyncio.fixture(loop_scope="module")
async def client(site: tuple[Fleet, str], fleet: Fleet) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, told nothing but where the gateway is."""
    async with openai.AsyncOpenAI(base_url=site[1], api_key="any", max_retries=0) as opened:
        yield opened


def text(chunks: list[ChatCompletionChunk]) -> str:
    """What a stream said."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_a_plain_answer_with_its_usage(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="llm", messages=ASK, temperature=0.2)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


async def test_any_other_models_name_is_left_to_the_routes(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="gpt-4o", messages=ASK)
    assert answer.choices[0].message.content == TEXT


async def test_a_stream_comes_in_pieces_with_its_usage_at_the_end(
    client: openai.AsyncOpenAI, fleet: Fleet
) -> None:
    fleet.misbehave(chunk_delay_ms=20)
    stream = await client.chat.completions.create(
        model="llm", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert text(chunks) == TEXT
    # The first goes alone; whatever the worker reads at once after it goes together.
    assert len([chunk for chunk in chunks if text([chunk])]) > 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == [
        "stop"
    ]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


async def test_the_first_piece_comes_while_the_model_still_writes(
    client: openai.AsyncOpenAI, fleet: Fleet
) -> None:
    fleet.misbehave(chunk_delay_ms=600_000)
    stream = await client.chat.completions.create(model="llm", messages=ASK, stream=True)
    first = await anext(aiter(stream))
    assert first.choices[0].delta.content == TEXT.split(" ")[0]
    await stream.close()


async def test_a_stream_that_breaks_and_says_the_same_again_goes_on(
    client: openai.AsyncOpenAI, fleet: Fleet
) -> None:
    fleet.misbehave(reset_rate=1, break_after=3, chunk_delay_ms=20)
    total = fleet.calls()["total"]
    stream = await client.chat.completions.create(model="patient", messages=ASK, stream=True)
    chunks = [await anext(aiter(stream))]
    fleet.misbehave()
    chunks += [chunk async for chunk in stream]
    assert text(chunks) == TEXT
    assert fleet.calls()["total"] > total + 1


async def test_tool_calls_come_back_plain_and_streamed(client: openai.AsyncOpenAI, fleet: Fleet) -> None:
    fleet.misbehave(tool_calls=True)
    answer = await client.chat.completions.create(model="llm", messages=ASK, tools=[TOOL])
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("look_up", "{}")
    assert answer.choices[0].finish_reason == "tool_calls"
    stream = await client.chat.completions.create(model="llm", messages=ASK, tools=[TOOL], stream=True)
    deltas = [
        delta
        async for chunk in stream
        for choice in chunk.choices
        for delta in choice.delta.tool_calls or []
        if delta.function is not None
    ]
    assert deltas[0].function is not None
    assert deltas[0].function.name == "look_up"
    assert "".join((delta.function and delta.function.arguments) or "" for delta in deltas) == "{}"


async def test_several_answers_to_one_question(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="llm", messages=ASK, n=2)
    assert [choice.message.content for choice in answer.choices] == [TEXT, TEXT]


async def test_the_models_are_the_targets(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["llm", "patient"]
    assert (await client.models.retrieve("llm")).id == "llm"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-4o")


async def test_errors_are_the_clients_own_exceptions(client: openai.AsyncOpenAI, fleet: Fleet) -> None:
    with pytest.raises(openai.BadRequestError, match="api_base"):
        await client.chat.completions.create(
            model="llm", messages=ASK, extra_body={"api_base": "http://evil"}
        )
    fleet.misbehave(finish_reason="content_filter")
    with pytest.raises(openai.BadRequestError) as filtered:
        await client.chat.completions.create(model="llm", messages=ASK)
    assert filtered.value.code == "content_filter"
    fleet.misbehave(error_rate=1, error_status=400, error_code="context_length_exceeded")
    with pytest.raises(openai.BadRequestError) as long:
        await client.chat.completions.create(model="llm", messages=ASK, stream=True)
    assert long.value.code == "context_length_exceeded"
    fleet.misbehave(error_rate=1, error_status=500)
    with pytest.raises(openai.InternalServerError) as failed:
        await client.chat.completions.create(model="llm", messages=ASK)
    assert failed.value.status_code == 502


async def test_a_stream_that_fails_for_good_raises_within_it(
    client: openai.AsyncOpenAI, fleet: Fleet
) -> None:
    fleet.misbehave(reset_rate=1, break_after=2)
    stream = await client.chat.completions.create(model="patient", messages=ASK, stream=True)
    assert (await anext(aiter(stream))).choices
    fleet.misbehave(error_rate=1, error_status=400)
    with pytest.raises(openai.APIError, match="answered 400"):
        [chunk async for chunk in stream]


async def test_the_synchronous_client_gets_the_same(site: tuple[Fleet, str], fleet: Fleet) -> None:
    def talk() -> tuple[str | None, str]:
        with openai.OpenAI(base_url=site[1], api_key="any") as client:
            answer = client.chat.completions.create(model="llm", messages=ASK)
            with client.chat.completions.create(model="llm", messages=ASK, stream=True) as stream:
                return answer.choices[0].message.content, text(list(stream))

    assert await asyncio.to_thread(talk) == (TEXT, TEXT)


async def test_langchain_asks_streams_and_calls_tools(site: tuple[Fleet, str], fleet: Fleet) -> None:
    @tool
    def look_up() -> str:
        """Look something up."""
        return "7"

    model = ChatOpenAI(
        base_url=site[1], api_key=SecretStr("any"), model="llm", temperature=0, stream_usage=True
    )
    answer = await model.ainvoke("hello")
    assert answer.content == TEXT
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] > 0
    pieces = [piece async for piece in model.astream("hello")]
    assert "".join(str(piece.content) for piece in pieces) == TEXT
    assert len(pieces) > 1
    fleet.misbehave(tool_calls=True)
    called = await model.bind_tools([look_up]).ainvoke("hello")
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [("look_up", {})]


async def test_a_client_that_goes_away_is_waited_for_no_longer(
    client: openai.AsyncOpenAI, fleet: Fleet
) -> None:
    (gateway,) = fleet.of("gateway")

    def waiting() -> float | None:
        page = get(f"http://127.0.0.1:{gateway.health_port}/metrics") or b""
        found = re.search(rb"^relayfleet_gateway_waiting (.+)$", page, re.MULTILINE)
        return float(found[1]) if found else None

    fleet.misbehave(hang_rate=1)
    asking = asyncio.create_task(client.chat.completions.create(model="llm", messages=ASK))
    await eventually(lambda: waiting() == 1, PATIENCE)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await eventually(lambda: waiting() == 0, PATIENCE)


GUIDE = ROOT / "docs/producers-chat.md"
EXAMPLES = re.findall(r"^```(python|bash|javascript)\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("language", "code"), EXAMPLES, ids=[f"{n}-{each[0]}" for n, each in enumerate(EXAMPLES)]
)
async def test_every_example_of_the_guide_gets_its_answer(
    site: tuple[Fleet, str], fleet: Fleet, language: str, code: str
) -> None:
    place = site[1].removeprefix("http://").removesuffix("/v1")
    assert "127.0.0.1:8080" in code
    command = RUNNERS[language]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    process = await asyncio.create_subprocess_exec(
        *command,
        code.replace("127.0.0.1:8080", place),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    said = output if language != "bash" else "".join(re.findall(r'"content":"([^"]*)"', output))
    assert TEXT in said, output


RUNNERS = {
    "python": (sys.executable, "-c"),
    "bash": ("bash", "-c"),
    "javascript": ("node", "--experimental-websocket", "-e"),
}
