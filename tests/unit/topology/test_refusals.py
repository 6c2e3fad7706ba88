"""Every kind of mistake in a topology file: where it is said to be, and in which words."""

from pathlib import Path

import pytest

from tests.unit.topology.cases_cluster import KAFKA, SECRETS, UNSUPPORTED
from tests.unit.topology.cases_form import FIELDS, FORM
from tests.unit.topology.cases_gateway import GATEWAY
from tests.unit.topology.cases_meaning import PREFERENCES, ROUTES, TARGETS
from tests.unit.topology.cases_protocols import PROTOCOLS
from tests.unit.topology.support import MINIMAL, problems
from workers.core.topology.load import load_topology
from workers.core.topology.problems import TopologyError


@pytest.mark.parametrize(
    ("text", "line", "field", "says"),
    [*FORM, *FIELDS, *ROUTES, *PREFERENCES, *TARGETS, *PROTOCOLS, *GATEWAY, *KAFKA, *UNSUPPORTED, *SECRETS],
)
def test_a_mistake_is_the_one_problem_and_has_its_line_and_field(
    tmp_path: Path, text: str, line: int, field: str, says: str
) -> None:
    found = problems(tmp_path, text, {"P": "secret"})

    assert [(problem.line, problem.field) for problem in found] == [(line, field)], [*map(str, found)]
    assert says in str(found[0])
    assert "p4ss" not in str(found[0])


def test_the_column_is_that_of_the_key_for_a_wrong_key_and_of_the_value_for_a_wrong_value(
    tmp_path: Path,
) -> None:
    text = MINIMAL + "    retyr: 1\n    timeout:  soon\n"

    assert [(problem.line, problem.column) for problem in problems(tmp_path, text)] == [(8, 5), (9, 15)]


def test_a_problem_reads_like_a_compilers(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, MINIMAL + "    retyr: {}\n")

    file = tmp_path / "topology.yaml"
    assert str(problem) == f"{file}:8:5: targets.llm.retyr: unknown key; did you mean 'retry'?"


def test_all_problems_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
        version: 1
        kafka: {bootstrap: nowhere}
        routes:
          - {name: a, to: nobody, when: {source: x}}
          - {name: default, to: llm}
          - {name: late, to: llm}
        targets:
          llm:
            type: openai
            timeout: soon
            retry: {initial: 5m, colour: red}
            instances: [{url: ftp://h, api_key: "${NOT_SET}"}]
            cache: soon
        """

    assert [(problem.line, problem.field) for problem in problems(tmp_path, text)] == [
        (2, "kafka.bootstrap"),
        (4, "routes[0].to"),
        (6, "routes[2]"),
        (10, "targets.llm.timeout"),
        (11, "targets.llm.retry.initial"),
        (11, "targets.llm.retry.colour"),
        (12, "targets.llm.instances[0].url"),
        (12, "targets.llm.instances[0].api_key"),
        (13, "targets.llm.cache"),
    ]


def test_bytes_that_are_not_utf8_have_their_place(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, MINIMAL.encode() + "    model: 模".encode() + b"\xff\n")

    assert (problem.line, problem.column, problem.message) == (8, 13, "byte 0xff is not UTF-8")


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, b"#" * 3_000_000)

    assert "1,048,576 are the most" in problem.message


def test_a_few_lines_of_aliases_do_not_blow_up(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    [problem] = problems(tmp_path, "\n".join(lines))

    assert "aliases included" in problem.message


def test_a_missing_file_or_a_folder_is_a_problem_too(tmp_path: Path) -> None:

    with pytest.raises(TopologyError, match=r"absent\.yaml:1:1: there is no such file"):
        load_topology(tmp_path / "absent.yaml", {})
    with pytest.raises(TopologyError, match="can't be read"):
        load_topology(tmp_path, {})
