"""What tests of several ways in start from."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.gateway.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await World().start()
    yield opened
    await opened.stop()
