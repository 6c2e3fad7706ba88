"""Chat completions of an OpenAI-compatible server: one client, and so one connection pool, an instance."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import SplitResult, quote

from workers.backends import openai_request, openai_response
from workers.backends.http_begun import tell_answer
from workers.backends.http_client import HttpClient, HttpPolicy, HttpResponse, HttpStream
from workers.backends.http_errors import retry_after
from workers.backends.instances import MAX_ANSWER, address_of, bearer, connections_of, ids, name_of
from workers.backends.openai_stream import StreamedAnswer
from workers.core.clock import Clock
from workers.core.errors import MessageError
from workers.core.ports import Answer, Call, Sink, Told
from workers.core.topology.model import Instance, OpenAITarget

_QUERY_SAFE = "/?%:@!$&'()*+,;=~-._"


class OpenAIBackend:
    """One instance of an `openai` target. See `core.ports.Backend`.

    The message's id goes along as `x-request-id` and `idempotency-key`, percent-encoded where a header could not hold
    it. An abandoned call closes its connection.
    """

    def __init__(self, instance: Instance, target: OpenAITarget, clock: Clock) -> None:
        """Raises `UsageError` for an address, key or parameter that could never work."""
        openai_request.check_parameters(target.parameters)
        address = address_of(instance.url, ("http", "https"), "http://HOST:PORT/v1")
        self._name = name_of(address)
        self._path = _target(address)
        self._model = target.model
        self._parameters: Mapping[str, Any] = target.parameters
        self._clock = clock
        self._client = _client(address, self._name, instance)

    @property
    def name(self) -> str:
        """See `Backend`."""
        return self._name

    async def call(self, call: Call) -> Answer:
        """See `Backend`. `call.timeout` bounds everything, from waiting for a connection to the last byte."""
        if call.sink is not None:
            return await self._streamed(call, call.sink)
        body = openai_request.render(call.request.payload, self._model, self._parameters)
        response = await self._client.request("POST", self._path, ids(call), body, seconds=call.timeout)
        return self._answer(response)

    def begin(self, call: Call, told: Told) -> Callable[[], None] | None:
        """See `PromptBackend`."""
        if call.sink is not None:
            return None
        body = openai_request.render(call.request.payload, self._model, self._parameters)
        tell = partial(tell_answer, self._answer, told)
        return self._client.begin("POST", self._path, ids(call), body, seconds=call.timeout, told=tell)

    async def _streamed(self, call: Call, sink: Sink) -> Answer:
        body = openai_request.render(call.request.payload, self._model, self._parameters, stream=True)
        async with self._client.stream("POST", self._path, ids(call), body, seconds=call.timeout) as response:
            if not 200 <= response.status < 300:
                raise self._refusal(response, await response.read())
            if not (response.header("content-type") or "").startswith("text/event-stream"):
                return openai_response.parse(self._name, response.status, await response.read())
            answer = StreamedAnswer(self._name, response.status, sink, MAX_ANSWER)
            async for piece in response:
                answer.feed(piece)
            return answer.finish()

    async def close(self) -> None:
        """See `Backend`. Calls under way fail as `connect`."""
        await self._client.close()

    def _answer(self, response: HttpResponse) -> Answer:
        if 200 <= response.status < 300:
            return openai_response.parse(self._name, response.status, response.body)
        raise self._refusal(response, response.body)

    def _refusal(self, response: HttpResponse | HttpStream, body: bytes) -> MessageError:
        wait = retry_after(response.header, self._clock.wall())
        return openai_response.refusal(self._name, response.status, body, wait)


def _target(address: SplitResult) -> str:
    path = quote(f"{address.path.rstrip('/')}/chat/completions", safe="/%:@!$&'()*+,;=~-._")
    return f"{path}?{quote(address.query, safe=_QUERY_SAFE)}" if address.query else path


def _client(address: SplitResult, name: str, instance: Instance) -> HttpClient:
    headers = [("content-type", "application/json"), ("accept", "application/json")]
    headers += bearer(instance, name)
    return HttpClient(
        name, address, headers, HttpPolicy(connections=connections_of(instance), max_body=MAX_ANSWER)
    )
