"""Users for Locust: one step after the other, each with more of them.

    locust -f benchmarks/locustfile.py --headless --host http://127.0.0.1:8080 --steps 100,200 --hold 10 ForwardUser

`relayfleet bench ramp` runs it and draws what it finds. A user sends its next message `--pace` seconds after its last
one was sent, or at once where the answer took longer. The users of a step come at once, so each waits for a part of the
first pace of its own: else all of them would ask in the same moment of every second, as no users do. What each step saw
goes to the file of `--results`.
"""

import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from queue import Queue
from random import Random
from threading import Thread
from typing import Any, ClassVar

import grpc
import orjson
from grpc.experimental import gevent as grpc_gevent
from hdrh.histogram import HdrHistogram
from locust import FastHttpUser, LoadTestShape, User, events, task
from websockets.sync.client import connect

from schemas import relayfleet_pb2 as wire
from schemas.relayfleet_pb2_grpc import MessageRouterStub

TEXT = "测试消息"
BODY = orjson.dumps({"text": "测试消息", "context": {}}).decode()
_ASKED = wire.RequestMessage(input_text=TEXT)
_LONGEST = 60.0  # seconds for an answer
_GATHER = 0.005  # seconds in which questions come together
_HOUR_MS = 3_600_000
_DICE = Random(1)


@events.init_command_line_parser.add_listener
def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--steps", default="100,250,500,750,1000", help="users of each step")
    parser.add_argument("--hold", type=float, default=15.0, help="seconds of each step")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds of a step that don't count")
    parser.add_argument(
        "--enough", type=int, default=0, help="end after so many requests; 0: after the steps"
    )
    parser.add_argument("--pace", type=float, default=1.0, help="seconds between a user's messages; 0: none")
    parser.add_argument("--grpc", default="127.0.0.1:50051", help="where the gateway speaks gRPC")
    parser.add_argument("--results", default="", help="file for what each step saw, as JSON")


class Steps(LoadTestShape):
    """So many users for so long, then more."""

    def tick(self) -> tuple[int, float] | None:
        """Users now, and how fast they come; None when all is over."""
        options = self._options()
        if 0 < options.enough <= SEEN.requests:
            return None
        users = [int(text) for text in options.steps.split(",")]
        step = int(self.get_run_time() // options.hold)
        return (users[step], max(users) * 1.0) if step < len(users) else None

    def _options(self) -> Any:
        assert self.runner is not None  # noqa: S101 - Locust sets it before the first tick
        return self.runner.environment.parsed_options


class Seen:
    """What each step saw."""

    def __init__(self) -> None:
        self.latencies: dict[int, HdrHistogram] = {}
        self.errors: dict[int, Counter[str]] = {}
        self.requests = 0  # of all steps, failed or not

    def add(self, users: int, milliseconds: float, error: str | None) -> None:
        """One request."""
        self.requests += 1
        if error is not None:
            self.errors.setdefault(users, Counter())[error] += 1
            return
        histogram = self.latencies.setdefault(users, HdrHistogram(1, _HOUR_MS * 1000, 3))
        histogram.record_value(max(1, int(milliseconds * 1000)))

    def as_rows(self, counted: float) -> list[dict[str, Any]]:
        """By number of users; `counted` is the seconds of a step that count."""
        rows = []
        for users in sorted(self.latencies.keys() | self.errors.keys()):
            histogram = self.latencies.get(users) or HdrHistogram(1, _HOUR_MS * 1000, 3)
            errors = self.errors.get(users, Counter())
            rows.append(
                {
                    "users": users,
                    "requests": int(histogram.total_count),
                    "achieved": int(histogram.total_count) / counted,
                    "errors": errors.total(),
                    "why": dict(errors.most_common(5)),
                    "histogram": histogram.encode().decode(),
                }
            )
        return rows


SEEN = Seen()


@events.test_start.add_listener
def _begin(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    users = [int(text) for text in options.steps.split(",")]

    def note(response_time: float, exception: BaseException | None = None, **_: Any) -> None:
        ran = environment.shape_class.get_run_time()
        step, inside = divmod(ran, options.hold)
        if inside < options.settle or step >= len(users):
            return
        error = None if exception is None else f"{type(exception).__name__}: {exception}"[:120]
        SEEN.add(users[int(step)], response_time, error)

    environment.events.request.add_listener(note)


@events.quitting.add_listener
def _end(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    if options.results:
        rows = SEEN.as_rows(options.hold - options.settle)
        Path(options.results).write_bytes(orjson.dumps(rows))


class PacedUser(User):
    """Asks at a moment of its own, and `--pace` seconds later again."""

    abstract = True

    def on_start(self) -> None:
        """Wait for its own part of the first pace."""
        self._pace = float(self.environment.parsed_options.pace)
        time.sleep(_DICE.random() * self._pace)
        self._due = time.perf_counter()

    def wait_time(self) -> float:
        """Seconds until the next message. Locust's own pacing counts from when users come, which is together."""
        now = time.perf_counter()
        self._due = max(now, self._due + self._pace)
        return self._due - now


class ForwardUser(PacedUser, FastHttpUser):
    """Posts to the gateway as the demo page does."""

    network_timeout = 60.0
    connection_timeout = 10.0
    _headers: ClassVar[dict[str, str]] = {"content-type": "application/json"}

    @task
    def forward(self) -> None:
        """One message and its answer."""
        self.client.post("/api/forward", data=BODY, headers=self._headers)


@contextmanager
def _timed(user: Any, name: str) -> Iterator[None]:
    """Tell Locust how long it took, or how it failed."""
    began = time.perf_counter()
    failure: Exception | None = None
    try:
        yield
    except (OSError, ValueError, grpc.RpcError) as error:
        failure = error
    took = (time.perf_counter() - began) * 1000
    user.environment.events.request.fire(
        request_type=name,
        name="forward",
        response_time=took,
        response_length=0,
        exception=failure,
        context={},
    )


class WebSocketUser(PacedUser):
    """Asks on a connection that stays open."""

    def on_start(self) -> None:
        """Connect; the first frame is the gateway's welcome."""
        url = str(self.host).replace("http", "ws", 1)
        self._connection = connect(f"{url}/ws", proxy=None, open_timeout=30)
        self._connection.recv(timeout=30)
        self._asked = 0
        super().on_start()

    def on_stop(self) -> None:
        """Say goodbye."""
        self._connection.close()

    @task
    def ask(self) -> None:
        """One message and its answer."""
        self._asked += 1
        with _timed(self, "WebSocket"):
            frame = {"type": "ask", "id": str(self._asked), "text": TEXT, "context": {}}
            self._connection.send(orjson.dumps(frame).decode())
            while (said := orjson.loads(self._connection.recv(timeout=60)))["type"] != "answer":
                if said["type"] == "error":
                    raise ValueError(f"the gateway answered {said}")


class GrpcUser(PacedUser):
    """Calls ForwardRequest; all users of the process share a channel, as clients should."""

    def on_start(self) -> None:
        """Open the channel once."""
        self._router = _router(self.environment.parsed_options.grpc)
        super().on_start()

    @task
    def ask(self) -> None:
        """One message and its answer."""
        with _timed(self, "gRPC"):
            self._router.ForwardRequest(_ASKED, timeout=_LONGEST)


class GrpcManyUser(PacedUser):
    """Asks on a ConverseMany stream; all users of the process share it, and it carries what they ask together."""

    def on_start(self) -> None:
        """Open the stream once."""
        self._stream = _stream(self.environment.parsed_options.grpc)
        super().on_start()

    @task
    def ask(self) -> None:
        """One message and its answer."""
        with _timed(self, "gRPC, many in a message"):
            answer = self._stream.ask()
            if answer.status != "ok":
                raise ValueError(f"the gateway answered {answer.payload.error.code}")


class _Stream:
    """A ConverseMany call for everybody in the process."""

    def __init__(self, router: MessageRouterStub) -> None:
        self._asked: Queue[wire.ConverseRequest] = Queue()
        self._waiting: dict[str, Future[wire.ResponseMessage]] = {}
        self._names = map(str, count())
        self._replies = router.ConverseMany(self._messages())
        Thread(target=self._read, daemon=True).start()

    def ask(self) -> wire.ResponseMessage:
        """The answer to one question. Raises `RpcError` where the stream has ended, `TimeoutError`."""
        name, answer = next(self._names), Future[wire.ResponseMessage]()
        self._waiting[name] = answer
        if not self._replies.is_active():
            raise self._replies
        self._asked.put(wire.ConverseRequest(id=name, request=_ASKED))
        return answer.result(_LONGEST)

    def _messages(self) -> Iterator[wire.ConverseRequests]:
        while True:
            asked = [self._asked.get()]
            time.sleep(_GATHER)
            asked += [self._asked.get() for _ in range(self._asked.qsize())]
            yield wire.ConverseRequests(requests=asked)

    def _read(self) -> None:
        try:
            for message in self._replies:
                for reply in message.replies:
                    self._waiting.pop(reply.id).set_result(reply.response)
        except grpc.RpcError as error:
            for answer in list(self._waiting.values()):
                answer.set_exception(error)


@cache
def _router(where: str) -> MessageRouterStub:
    grpc_gevent.init_gevent()
    return MessageRouterStub(grpc.insecure_channel(where))


@cache
def _stream(where: str) -> _Stream:
    return _Stream(_router(where))
