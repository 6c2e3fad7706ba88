"""Topologies to start from."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

from workers.core.topology.load import load_topology
from workers.core.topology.model import Topology
from workers.core.topology.problems import Problem, TopologyError

MINIMAL = """\
version: 1
routes:
  - {name: default, to: llm}
targets:
  llm:
    type: openai
    instances: [{url: "http://127.0.0.1:8091/v1"}]
"""

SQL = """\
version: 1
routes:
  - {name: default, to: orders}
targets:
  orders:
    type: sql
    dsn: "sqlite:///orders.db"
    query: "select status, eta from orders where order_id = :order_id"
    parameters: {order_id: {pattern: '[0-9]{6,}'}}
    answer: "Order {order_id}: {status}"
"""


def topology(**extra: Any) -> Topology:
    """A topology with one model target, and what a test adds or replaces."""
    data: dict[str, Any] = {
        "version": 1,
        "routes": [{"name": "default", "to": "llm"}],
        "targets": {"llm": {"type": "openai", "instances": [{"url": "http://127.0.0.1:8091/v1"}]}},
    }
    return Topology.model_validate({**data, **extra})


def problems(
    folder: Path, text: str | bytes, environment: Mapping[str, str] | None = None
) -> tuple[Problem, ...]:
    """What is wrong with a file of this text; none where it loads."""
    file = folder / "topology.yaml"
    file.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
    try:
        load_topology(file, environment or {})
    except TopologyError as error:
        return error.problems
    return ()
