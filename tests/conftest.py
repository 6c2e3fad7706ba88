"""A real broker for every test that asks for one."""

import pytest

from workers.core.settings import Settings


def _unavailable(settings: Settings, reason: str) -> None:
    """No broker: a failure where CI runs, a skip on somebody's laptop."""
    if settings.ci:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka() -> str:
    """Bootstrap address of a real broker, `127.0.0.1:PORT`, shared by the whole session."""
    settings = Settings.read()
    choice = settings.environment.get("RELAYFLEET_TEST_KAFKA", "")
    if ":" not in choice:
        _unavailable(settings, "no broker: set RELAYFLEET_TEST_KAFKA=HOST:PORT")
    return choice
