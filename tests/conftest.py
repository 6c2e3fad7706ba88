"""A real broker for every test that asks for one.

`RELAYFLEET_TEST_KAFKA` chooses the one that tests share: unset, an embedded one; `docker`, a container; `HOST:PORT`,
one that runs already.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests import brokers
from tests.brokers import PrivateBroker
from tests.support import unavailable
from workers.core.settings import Settings

B = TypeVar("B")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The long form of the chaos tests, and where its figures go."""
    parser.addoption(
        "--chaos-long", action="store_true", help="the whole matrix of faults, 20,000 messages each"
    )
    parser.addoption(
        "--chaos-report", metavar="FILE", help="write the figures of the chaos tests there, as JSON"
    )


def pytest_configure() -> None:
    """gRPC's own log lines of connections that tests break would stand between the tests' dots.

    Hypothesis calls an example that took 0.2 s a failure, which a machine that is busy or stands still makes of any.
    """
    pytest.MonkeyPatch().setenv("GRPC_VERBOSITY", "NONE")
    settings.register_profile(
        "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap address of a real broker, `HOST:PORT`, shared by the whole session."""
    choice = Settings.read().environment.get("RELAYFLEET_TEST_KAFKA", "")
    yield from _provide(_shared(choice))


@pytest.fixture
def restartable_kafka(_private_kafka: PrivateBroker) -> Iterator[PrivateBroker]:
    """A broker that the test may stop, kill, freeze and cut off; it runs when the test begins."""
    _private_kafka.mend()
    yield _private_kafka
    _private_kafka.thaw()


@pytest.fixture(scope="session")
def _private_kafka() -> Iterator[PrivateBroker]:
    yield from _provide(brokers.private())


def _shared(choice: str) -> AbstractContextManager[str]:
    if choice == "docker":
        return brokers.in_container()
    return nullcontext(choice) if ":" in choice else brokers.embedded()


def _provide(broker: AbstractContextManager[B]) -> Iterator[B]:
    try:
        provided = broker.__enter__()
    except Exception as error:  # noqa: BLE001 - whatever keeps it from starting is the reason
        unavailable(f"no broker to test with: {error}")
    try:
        yield provided
    finally:
        broker.__exit__(None, None, None)
