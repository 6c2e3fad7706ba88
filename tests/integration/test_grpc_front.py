"""The gateway's gRPC interface on a running fleet, asked by grpcio's own clients."""

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from schemas import relayfleet_pb2 as wire
from schemas.errors import ErrorClass
from schemas.relayfleet_pb2_grpc import MessageRouterStub
from tests.fleet import Fleet, running_fleet
from tests.gateways import RunningGateway, running_gateway
from tests.processes import ROOT
from tests.support import eventually, unique
from workers.gateway.auth import hash_of, new_key
from workers.gateway.refusals import CODES
from workers.local.stub_model import TEXT

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY, OTHER_KEY = new_key(), new_key()
SETTINGS = {
    "tenants": {
        "ours": {"keys": [hash_of(KEY)]},
        "theirs": {"keys": [hash_of(OTHER_KEY)], "targets": ["llm"]},
    },
    "gateway": {
        "confirm": "30s",
        "wait": "60s",
        "longest_wait": "10m",
        "limits": {"text": 2000, "body": "64kB"},
    },
}
PATIENCE = 60.0  # of a client that is answered
FOR_EVER = 600.0  # of one that is not
QUESTION = wire.RequestMessage(user_id="u1", session_id="", input_text="测试消息", context={"lang": "zh"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_fleet(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    directory = tmp_path_factory.mktemp("grpc")
    target = {
        "timeout": "2m",  # so that nothing but a deadline ends what hangs
        "breaker": {"min_calls": 1000},
        "retry": {"attempts": 1, "initial": "50ms", "max": "100ms", "hold_up_to": "100ms"},
    }
    other = {"type": "openai", "instances": [{"url": "http://127.0.0.1:9/v1"}]}
    async with running_fleet(
        kafka, directory, with_redis=True, target=target, targets={"spare": other}, more=SETTINGS
    ) as fleet:
        await asyncio.gather(fleet.add("router"), fleet.add("worker", "--target", "llm"))
        yield fleet


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(shared_fleet: Fleet) -> AsyncIterator[RunningGateway]:
    async with running_gateway(shared_fleet) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(gateway: RunningGateway) -> AsyncIterator[aio.Channel]:
    async with aio.insecure_channel(gateway.grpc, options=[("grpc.enable_http_proxy", 0)]) as opened:
        yield opened


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Fleet:
    shared_fleet.misbehave()
    return shared_fleet


@pytest.fixture
def stub(fleet: Fleet, channel: aio.Channel) -> Any:
    return MessageRouterStub(channel)


def metadata(key: str = KEY, **more: str) -> tuple[tuple[str, str], ...]:
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return (("authorization", f"Bearer {key}"), *named.items())


async def failure(call: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value


def trailing(error: aio.AioRpcError, name: str) -> Any:
    return dict(error.trailing_metadata() or ()).get(name)


async def outcome(gateway: RunningGateway, name: str) -> Any:
    """What became of a question, as it is told over HTTP; None while that is not kept."""
    found = await gateway.find(name, authorization=f"Bearer {KEY}")
    return found.json() if found.status_code == 200 else None


async def test_one_question_gets_one_answer_with_all_its_fields(stub: Any) -> None:
    call = stub.ForwardRequest(QUESTION, metadata=metadata(x_request_id="r-1"), timeout=PATIENCE)
    answer = await call
    assert (answer.status, answer.source) == ("ok", "llm")
    assert answer.payload.text
    assert answer.payload.usage.total_tokens > 0
    assert (answer.route.target, answer.route.rule, answer.route.attempts) == ("llm", "default", 1)
    assert answer.timing.total > 0
    assert dict(await call.initial_metadata())["x-request-id"] == "r-1"
    assert dict(await call.trailing_metadata())["x-request-id"] == "r-1"


async def test_a_call_has_an_id_at_its_end_whether_or_not_the_client_gave_one(stub: Any) -> None:
    call = stub.ForwardRequest(QUESTION, metadata=metadata(), timeout=PATIENCE)
    await call
    assert dict(await call.trailing_metadata())["x-request-id"]


async def test_a_named_message_is_answered_once_and_found_over_http(
    stub: Any, gateway: RunningGateway
) -> None:
    name = unique("grpc")
    sent = metadata(idempotency_key=name, x_relay_target="llm")
    first = await stub.ForwardRequest(QUESTION, metadata=sent, timeout=PATIENCE)
    found = await eventually(lambda: outcome(gateway, name), PATIENCE)
    again = await stub.ForwardRequest(QUESTION, metadata=sent, timeout=PATIENCE)
    assert (first.message_id, first.route.rule) == (name, "named")
    assert again == first
    assert found["payload"]["text"] == first.payload.text
    assert (await gateway.find(name, authorization=f"Bearer {OTHER_KEY}")).status_code == 404


async def test_a_streamed_answer_comes_in_pieces_and_whole_at_the_end(stub: Any) -> None:
    chunks = [chunk async for chunk in stub.ForwardStream(QUESTION, metadata=metadata(), timeout=PATIENCE)]
    assert len(chunks) > 2
    assert [chunk.index for chunk in chunks[:-1]] == list(range(len(chunks) - 1))
    whole = chunks[-1].response
    assert whole.status == "ok"
    assert "".join(chunk.text for chunk in chunks) == whole.payload.text


async def test_many_questions_on_one_stream_are_answered_as_they_are_ready(stub: Any) -> None:
    call = stub.Converse(metadata=metadata(), timeout=PATIENCE)
    for number in range(20):
        streamed = number % 2 == 0
        await call.write(wire.ConverseRequest(id=str(number), request=QUESTION, stream=streamed))
    await call.write(wire.ConverseRequest(id="", request=QUESTION))
    await call.done_writing()
    replies = [reply async for reply in call]
    answers = {reply.id: reply.response for reply in replies if reply.HasField("response")}
    assert answers.keys() == {"", *map(str, range(20))}
    assert answers.pop("").payload.error.code == "schema"
    assert {answer.status for answer in answers.values()} == {"ok"}
    pieces = [reply for reply in replies if reply.HasField("chunk")]
    assert {reply.id for reply in pieces} == {str(number) for number in range(0, 20, 2)}
    assert "".join(one.chunk.text for one in pieces if one.id == "4") == answers["4"].payload.text


async def test_many_questions_in_a_message_get_many_replies_in_one_and_each_may_want_its_own_target(
    stub: Any,
) -> None:
    call = stub.ConverseMany(metadata=metadata(), timeout=PATIENCE)
    asked = [wire.ConverseRequest(id=str(number), request=QUESTION, target="llm") for number in range(50)]
    asked[7].stream = True
    asked[8].target = asked[9].target = "nowhere"  # told at once, so surely together
    await call.write(wire.ConverseRequests(requests=asked[:30]))
    await call.write(wire.ConverseRequests(requests=asked[30:]))
    await call.done_writing()
    messages = [message async for message in call]
    replies = [reply for message in messages for reply in message.replies]
    answers = {reply.id: reply.response for reply in replies if reply.HasField("response")}
    assert answers.keys() == {str(number) for number in range(50)}
    assert len(messages) < len(replies)
    assert {answers.pop(name).payload.error.code for name in "89"} == {"unroutable"}
    assert {(answer.status, answer.route.rule) for answer in answers.values()} == {("ok", "named")}
    pieces = [reply.chunk.text for reply in replies if reply.HasField("chunk")]
    assert "".join(pieces) == answers["7"].payload.text


async def test_a_question_of_a_stream_can_be_cancelled_and_an_id_under_way_is_refused(
    fleet: Fleet, stub: Any
) -> None:
    fleet.misbehave(hang_rate=1)
    call = stub.Converse(metadata=metadata(), timeout=FOR_EVER)
    await call.write(wire.ConverseRequest(id="a", request=QUESTION))
    await call.write(wire.ConverseRequest(id="a", request=QUESTION))
    refused = await call.read()
    assert (refused.id, refused.response.payload.error.code) == ("a", "schema")
    await call.write(wire.ConverseRequest(id="a", cancel=wire.Cancel()))
    await call.done_writing()
    assert await call.read() is aio.EOF


async def test_the_deadline_is_the_clients_and_the_fleet_knows_it(
    fleet: Fleet, stub: Any, gateway: RunningGateway
) -> None:
    fleet.misbehave(hang_rate=1)

    async def too_late() -> tuple[str, Any]:
        """A question that has failed, and how. Where its second was over before the gateway had it, there is none."""
        name = unique("late")
        sent = metadata(idempotency_key=name)
        error = await failure(stub.ForwardRequest(QUESTION, metadata=sent, timeout=1))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return name, await eventually(lambda: outcome(gateway, name))

    # Nothing else ends what hangs: the worker gave up at the client's deadline.
    name, told = await eventually(too_late, PATIENCE)
    again = stub.ForwardRequest(QUESTION, metadata=metadata(idempotency_key=name), timeout=PATIENCE)
    error_class = trailing(await failure(again), "relay-error-class")
    assert error_class in {"expired", "timeout"}
    assert error_class == told["payload"]["error"]["code"]


async def test_a_call_that_is_cancelled_gives_its_place_back(
    fleet: Fleet, stub: Any, gateway: RunningGateway
) -> None:
    fleet.misbehave(hang_rate=1)
    calls = [stub.ForwardRequest(QUESTION, metadata=metadata(), timeout=FOR_EVER) for _ in range(5)]

    async def waiting() -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.process.health_port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        [value] = re.findall(r"^relayfleet_gateway_waiting (.*)$", text, re.MULTILINE)
        return str(value)

    async def are(count: str) -> bool:
        return await waiting() == count

    await eventually(lambda: are("5.0"), PATIENCE, interval=0.1)
    for call in calls:
        call.cancel()
    await eventually(lambda: are("0.0"), PATIENCE, interval=0.1)


FAILURES = [
    ({"error_status": 400}, ErrorClass.UPSTREAM_4XX),
    ({"error_status": 401}, ErrorClass.AUTH),
    ({"error_status": 500}, ErrorClass.UPSTREAM_5XX),
    ({"error_status": 400, "error_code": "content_filter"}, ErrorClass.CONTENT_FILTER),
    ({"error_status": 400, "error_code": "context_length_exceeded"}, ErrorClass.CONTEXT_LENGTH),
]


@pytest.mark.parametrize(("faults", "error_class"), FAILURES, ids=lambda each: str(each))
async def test_a_failure_ends_the_call_with_the_status_of_its_class(
    fleet: Fleet, stub: Any, faults: dict[str, Any], error_class: ErrorClass
) -> None:
    fleet.misbehave(error_rate=1, **faults)
    sent = metadata(idempotency_key=unique("fail"))
    unary = await failure(stub.ForwardRequest(QUESTION, metadata=sent, timeout=PATIENCE))
    streamed = stub.ForwardStream(QUESTION, metadata=metadata(), timeout=PATIENCE)
    for error in (unary, await failure(streamed.read())):
        assert error.code() is grpc.StatusCode[CODES[error_class]]
        assert trailing(error, "relay-error-class") == error_class
        assert trailing(error, "relay-message-id")


async def test_every_class_has_a_status() -> None:
    assert CODES.keys() == set(ErrorClass)
    assert all(code in grpc.StatusCode.__members__ for code in CODES.values())


@pytest.mark.parametrize(
    ("sent", "question", "code"),
    [
        ((), QUESTION, grpc.StatusCode.UNAUTHENTICATED),
        (metadata("rfk_nobody"), QUESTION, grpc.StatusCode.UNAUTHENTICATED),
        (metadata(OTHER_KEY, x_relay_target="spare"), QUESTION, grpc.StatusCode.PERMISSION_DENIED),
        (metadata(x_relay_target="nowhere"), QUESTION, grpc.StatusCode.NOT_FOUND),
        (metadata(), wire.RequestMessage(input_text="x" * 2001), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (metadata(), wire.RequestMessage(input_text="x" * 70_000), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["nobody", "a wrong key", "not their target", "no target", "a text too long", "a message too large"],
)
async def test_what_is_refused_has_its_status(
    stub: Any, sent: Any, question: Any, code: grpc.StatusCode
) -> None:
    error = await failure(stub.ForwardRequest(question, metadata=sent, timeout=PATIENCE))
    assert error.code() is code


async def test_it_tells_its_health(channel: aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    for service in ("", "relayfleet.v1.MessageRouter"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_client_without_the_proto_learns_the_interface(channel: aio.Channel) -> None:
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="relayfleet.v1.MessageRouter")
    call = reflection.ServerReflectionInfo(iter([asked]), timeout=PATIENCE)
    answer = await call.read()
    described = FileDescriptorProto.FromString(answer.file_descriptor_response.file_descriptor_proto[0])
    message = next(one for one in described.message_type if one.name == "RequestMessage")
    assert [field.name for field in message.field] == ["user_id", "session_id", "input_text", "context"]


async def test_a_client_made_from_the_bare_service_is_served_too(fleet: Fleet, channel: aio.Channel) -> None:
    ask = channel.unary_unary(
        "/MessageRouter/ForwardRequest",
        request_serializer=wire.RequestMessage.SerializeToString,
        response_deserializer=wire.ResponseMessage.FromString,
    )
    answer = await ask(QUESTION, metadata=metadata(), timeout=PATIENCE)
    assert answer.status == "ok"


GUIDE = (ROOT / "docs/producers-grpc.md").read_text()


async def test_the_guides_python_runs(fleet: Fleet, gateway: RunningGateway) -> None:
    [code] = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    code = code.replace("127.0.0.1:50051", gateway.grpc).replace("rfk_your_key", KEY)
    code = code.replace("ForwardStream(question, ", "ForwardStream(question, metadata=metadata[:1], ")
    code = code.replace('metadata=[("x-relay', 'metadata=[metadata[0], ("x-relay').replace(
        "order-7", unique("guide")
    )
    ran = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await ran.communicate()
    assert ran.returncode == 0, err.decode()
    said = out.decode()
    assert said.startswith(f"{TEXT} llm ")
    assert said.endswith(f"{TEXT}100 replies\nNOT_FOUND unroutable\n")


@pytest.mark.parametrize("command", re.findall(r"^grpcurl ((?:.*\\\n)*.*)$", GUIDE, re.MULTILINE))
async def test_the_guides_grpcurl_commands_ask_for_what_there_is(
    fleet: Fleet, channel: aio.Channel, gateway: RunningGateway, command: str
) -> None:
    """Run where the machine has grpcurl; else by what it does: the method looked up, the JSON read as its message."""
    words = shlex.split(command.replace("\\\n", " "))
    body = words[words.index("-d") + 1] if "-d" in words else "{}"
    if (grpcurl := shutil.which("grpcurl")) is not None:
        told = ["-H", f"authorization: Bearer {KEY}", *words[:-2], gateway.grpc, words[-1]]
        ran = await asyncio.create_subprocess_exec(
            grpcurl, *told, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await ran.communicate()
        assert ran.returncode == 0, err.decode()
        answers = out.decode()
    else:
        answers = await _asked(channel, words[-1], body)
    assert TEXT in answers or "SERVING" in answers


async def _asked(channel: aio.Channel, place: str, body: str) -> str:
    service, _, name = place.partition("/")
    method = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
    request, reply = (
        message_factory.GetMessageClass(each) for each in (method.input_type, method.output_type)
    )
    asked = json_format.Parse(body, request())
    ask = channel.unary_stream(
        f"/{place}", request_serializer=request.SerializeToString, response_deserializer=reply.FromString
    )
    texts = [
        json_format.MessageToJson(each, ensure_ascii=False) async for each in ask(asked, metadata=metadata())
    ]
    return "".join(texts)


async def test_the_guide_tells_every_class_at_its_status() -> None:
    table = {
        cells[0].strip("` "): cells[1]
        for line in GUIDE.splitlines()
        if len(cells := line.strip("| ").split(" | ")) == 2
    }
    assert [each for each, code in CODES.items() if f"`{each}`" not in table.get(code, "")] == []
