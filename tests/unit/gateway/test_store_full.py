"""A gateway whose store takes no answers: full, or away for long."""

from collections.abc import Mapping

import pytest

from tests.support import eventually
from tests.unit.gateway.world import World, question
from workers.core.errors import UnreachableError
from workers.gateway import replies
from workers.gateway.relay import Pending, RefusalError


async def _full(_: Mapping[str, bytes]) -> None:
    raise UnreachableError("Redis has no room (injected)")


async def _answered(world: World, pending: Pending) -> str | None:
    world.reply(world.request(pending))
    answer = await pending.answer(30)
    return answer.payload.text if answer is not None else None


async def test_nothing_more_is_taken_while_answers_can_neither_be_kept_nor_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await World().start()
    monkeypatch.setattr(replies, "_MOST_UNSTORED", 10)
    with monkeypatch.context() as full:
        full.setattr(world.store, "put", _full)
        assert await _answered(world, await world.relay.submit(question())) == "hello"
        assert not world.relay.in_service
        with pytest.raises(RefusalError, match="can't keep answers") as refused:
            await world.relay.submit(question())
        assert (refused.value.status, refused.value.retry_after) == (503, 1.0)
    await eventually(lambda: world.relay.in_service)
    assert await _answered(world, await world.relay.submit(question())) == "hello"
    await world.stop()
