"""The world that most tests of the worker begin with, and the two ways that a message can go in it."""

import pytest

from tests.unit.inference.world import World
from workers.inference.express import Express


@pytest.fixture(autouse=True, params=["express", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What holds for messages that go together holds for those that have a task each, and the other way round."""
    if request.param == "one by one":
        monkeypatch.setattr(Express, "start", lambda *_: False)
    return str(request.param)


@pytest.fixture
def world() -> World:
    """One target, one instance, one partition, nothing in it."""
    return World()
