"""What `/ws` refuses, drops and closes, so that nobody costs the others their room."""

import asyncio

import pytest

from tests.support import eventually
from tests.unit.gateway.sockets import Site, bounded, opened
from tests.unit.gateway.world import World, limits


async def test_one_connection_too_many_is_refused_and_one_that_goes_makes_room() -> None:
    async with opened(bounded(per_client=2)) as site:
        first, second = site.connect(), site.connect()
        await asyncio.gather(first.got("welcome"), second.got("welcome"))
        third = site.connect()
        await third.task
        assert third.status == 429
        assert gauge(site) == 2
        await first.leave()
        await site.connect().got("welcome")


def gauge(site: Site) -> float | None:
    """How many are open, as the metric says."""
    return site.world.metrics.registry.get_sample_value("relayfleet_gateway_websockets")


async def test_one_request_too_many_is_refused_and_an_answer_makes_room() -> None:
    async with opened(bounded(in_flight=2)) as site:
        client = site.connect()
        for name in ("a", "b", "c"):
            client.send(type="ask", id=name, text="hi")
        assert (await client.got("error", "c"))["error"]["status"] == 429
        await eventually(lambda: len(client.of("accepted")) == 2)
        site.world.reply(await site.request(), "hello")
        await client.got("answer")
        client.send(type="ask", id="c", text="hi")
        await client.got("accepted", "c")


async def test_what_is_refused_for_all_is_told_with_when_to_come_again() -> None:
    async with opened(World(settings=limits(in_flight=1))) as site:
        client = site.connect()
        client.send(type="ask", id="a", text="hi")
        await client.got("accepted", "a")
        client.send(type="ask", id="b", text="hi")
        error = (await client.got("error", "b"))["error"]
        assert (error["status"], error["retry_after"]) == (429, 1.0)


async def test_a_connection_on_which_nothing_happens_is_closed() -> None:
    async with opened(bounded(idle=0.05)) as site:
        client = site.connect()
        await client.task
        assert client.closed == 1001


async def test_a_connection_that_waits_for_an_answer_is_not_idle() -> None:
    async with opened(bounded(idle=0.02)) as site:
        client = site.connect()
        client.send(type="ask", id="q", text="hi")
        await client.got("accepted", "q")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(client.task), 0.1)
        site.world.reply(await site.request(), "hello")
        await client.got("answer", "q")


async def test_a_reader_that_takes_nothing_is_dropped_and_its_answers_are_found() -> None:
    async with opened(bounded(stall=0.05)) as site:
        client = site.connect()
        client.send(type="ask", id="q", text="hi")
        accepted = await client.got("accepted", "q")
        client.taking.clear()
        site.world.reply(await site.request(), "hello")
        await eventually(lambda: site.world.relay.admission.in_flight == 0)
        await eventually(client.task.done)
        found = await site.world.relay.find(None, accepted["message_id"])
        assert found is not None
        assert found.payload.text == "hello"


async def test_no_more_than_the_bound_waits_for_a_slow_reader() -> None:
    async with opened(World(settings=limits(stream_buffer=4096))) as site:
        client = site.connect()
        await client.got("welcome")
        client.taking.clear()
        for number in range(20):
            client.send(type="ask", id=f"q{number}", message_id=f"m{number}", text="hi")
        await eventually(lambda: len(site.world.requests()) == 20)
        for request in site.world.requests():
            site.world.reply(request, "x" * 2000)
        client.taking.set()
        await eventually(lambda: len(client.of("answer")) == 20)
