"""The world that most tests of the worker begin with."""

import pytest

from tests.unit.inference.world import World


@pytest.fixture
def world() -> World:
    """One target, one instance, one partition, nothing in it."""
    return World()
