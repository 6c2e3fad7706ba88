"""Every kind of mistake in a topology file: where it is said to be, and in which words."""

from pathlib import Path

import pytest

from tests.unit.topology.support import MINIMAL, SQL, problems
from workers.core.topology.load import load_topology
from workers.core.topology.problems import TopologyError

Case = tuple[str, int, str, str]
"""The file, the line, the field, and what the message says."""

FORM: list[Case] = [
    ("", 1, "", "the file is empty"),
    ("# nothing but a comment\n", 1, "", "the file is empty"),
    ("- a\n- b\n", 1, "", "must be a mapping"),
    ("just text", 1, "", "must be a mapping"),
    ("version: 1\nroutes:\n\t- {name: a, to: b}\n", 3, "", "no tabs"),
    ("version: 1\nroutes: [\n", 2, "", "is not YAML"),
    ("version: 1\nkafka: bootstrap: x\n", 2, "", "text with a colon in quotes"),
    (f"{MINIMAL}---\n{MINIMAL}", 8, "", "without a second `---`"),
    (
        MINIMAL.replace("version: 1", "version: 1\nversion: 1"),
        2,
        "version",
        "duplicate key, first used in line 1",
    ),
    (MINIMAL + "    timeout: 1s\n    timeout: 2s\n", 9, "targets.llm.timeout", "first used in line 8"),
    (MINIMAL + "    retry: !!python/object:os.system {}\n", 8, "targets.llm.retry", "is not allowed"),
    (MINIMAL + "    model: !secret x\n", 8, "targets.llm.model", "is not allowed"),
    (MINIMAL + "1: x\n", 8, "", "a key must be text, and '1' is not"),
    (MINIMAL + "? [a, b]\n: x\n", 8, "", "a key must be text, and this is not"),
    (MINIMAL + "    model: *nowhere\n", 8, "", "no finished anchor"),
    (MINIMAL + "    parameters: &a {again: *a}\n", 8, "", "no finished anchor"),
    (MINIMAL + "    model: " + "[" * 60 + "]" * 60, 8, "", "levels deep"),
    (MINIMAL + "    retry: {max: ${MAX}}\n", 8, "", "put ${…} in quotes"),
    (MINIMAL + "    <<: text\n", 8, "targets.llm", "merges mappings"),
    (MINIMAL + "    model: \x07\n", 8, "", "control character 0x07"),
]

FIELDS: list[Case] = [
    (MINIMAL + "tragets: {}\n", 8, "tragets", "unknown key; did you mean 'targets'?"),
    (MINIMAL + "    retyr: {}\n", 8, "targets.llm.retyr", "unknown key; did you mean 'retry'?"),
    (MINIMAL + "    retry:\n      attemps: 3\n", 9, "targets.llm.retry.attemps", "did you mean 'attempts'?"),
    (MINIMAL + "    dsn: x\n", 8, "targets.llm.dsn", "unknown key"),
    (MINIMAL + "topics: {requests: {}}\n", 8, "topics.requests", "did you mean 'model_requests'?"),
    (MINIMAL + "kafka: {bootstap: x}\n", 8, "kafka.bootstap", "did you mean 'bootstrap'?"),
    (MINIMAL.replace("version: 1", "version: 2"), 1, "version", "must be one of 1"),
    (MINIMAL.replace("version: 1\n", ""), 1, "version", "is missing"),
    (MINIMAL.replace("    type: openai\n", ""), 5, "targets.llm.type", "is missing"),
    (MINIMAL.replace("openai", "opneai"), 6, "targets.llm.type", "did you mean 'openai'?"),
    (
        MINIMAL.replace('{url: "http://127.0.0.1:8091/v1"}', "{weight: 1}"),
        7,
        "targets.llm.instances[0].url",
        "is missing",
    ),
    (
        MINIMAL.replace('[{url: "http://127.0.0.1:8091/v1"}]', "[]"),
        7,
        "targets.llm.instances",
        "must not be empty",
    ),
    (
        MINIMAL.replace('[{url: "http://127.0.0.1:8091/v1"}]', "http://a"),
        7,
        "targets.llm.instances",
        "must be a list",
    ),
    (MINIMAL + "    retry:\n", 8, "targets.llm.retry", "must be a mapping"),
    (MINIMAL + "    retry: {attempts: -1}\n", 8, "targets.llm.retry.attempts", "must be at least 1"),
    (MINIMAL + "    retry: {attempts: many}\n", 8, "targets.llm.retry.attempts", "must be a whole number"),
    (MINIMAL + "    retry: {attempts: true}\n", 8, "targets.llm.retry.attempts", "not true or false"),
    (MINIMAL + "    retry: {initial: 5 parsecs}\n", 8, "targets.llm.retry.initial", "is not a duration"),
    (MINIMAL + f"    timeout: {'9' * 400}s\n", 8, "targets.llm.timeout", "is not a duration"),
    (MINIMAL + "    timeout: .inf\n", 8, "targets.llm.timeout", "finite"),
    (MINIMAL + "    timeout: 0s\n", 8, "targets.llm.timeout", "must be greater than 0"),
    (MINIMAL + "    timeout: -5\n", 8, "targets.llm.timeout", "must be greater than 0"),
    (MINIMAL + "    timeout: 99999d\n", 8, "targets.llm.timeout", "must be at most"),
    (MINIMAL + "    breaker: {error_rate: 1.5}\n", 8, "targets.llm.breaker.error_rate", "must be at most 1"),
    (
        MINIMAL + "    breaker: {error_rate: .nan}\n",
        8,
        "targets.llm.breaker.error_rate",
        "must be a finite number",
    ),
    (
        MINIMAL + "    breaker: {when_open: wait}\n",
        8,
        "targets.llm.breaker.when_open",
        "pause, fallback, reject",
    ),
    (MINIMAL + "    model: 4\n", 8, "targets.llm.model", "put it in quotes"),
    (
        MINIMAL + "topics: {defaults: {partitions: 0}}\n",
        8,
        "topics.defaults.partitions",
        "must be at least 1",
    ),
    (
        MINIMAL + "topics: {defaults: {max_message_bytes: 3GB}}\n",
        8,
        "topics.defaults.max_message_bytes",
        "at most",
    ),
    (
        MINIMAL.replace('/v1"', '/v1", concurrency: 0'),
        7,
        "targets.llm.instances[0].concurrency",
        "or `adaptive`",
    ),
    (MINIMAL.replace('/v1"', '/v1", weight: 0'), 7, "targets.llm.instances[0].weight", "greater than 0"),
    (MINIMAL.replace("{name: default, to: llm}", "{name: default}"), 3, "routes[0].to", "is missing"),
    (MINIMAL.replace("name: default", 'name: " "'), 3, "routes[0].name", "must not be blank"),
    (MINIMAL.replace("  - {name: default, to: llm}\n", "  []\n"), 3, "routes", "must not be empty"),
]

ROUTES: list[Case] = [
    (
        MINIMAL.replace("to: llm", "to: lmm"),
        3,
        "routes[0].to",
        "there is no target 'lmm'; did you mean 'llm'?",
    ),
    (
        MINIMAL.replace("to: llm", "to: llm, when: {source: web}"),
        3,
        "routes[0].when",
        "every message that is left",
    ),
    (
        MINIMAL.replace("  - {", "  - {name: first, to: llm}\n  - {"),
        4,
        "routes[1]",
        "is never reached: 'first' before it takes its messages",
    ),
    (
        MINIMAL.replace(
            "  - {",
            "  - {name: a, when: {source: x}, to: llm}\n  - {name: b, when: {source: [x]}, to: llm}\n  - {",
        ),
        4,
        "routes[1]",
        "is never reached: 'a'",
    ),
    (
        MINIMAL.replace("  - {", "  - {name: default, when: {source: web}, to: llm}\n  - {"),
        4,
        "routes[1].name",
        "is the name of routes[0] already",
    ),
    (
        MINIMAL.replace("  - {", "  - {name: a, when: {pattern: '(oops'}, to: llm}\n  - {"),
        3,
        "routes[0].when.pattern",
        "is not a regular expression: missing ), unterminated subpattern at character 1",
    ),
    (
        MINIMAL.replace("  - {", "  - {name: a, when: {pattern: 'a{99999999999}'}, to: llm}\n  - {"),
        3,
        "routes[0].when.pattern",
        "make it smaller",
    ),
    (
        MINIMAL.replace("  - {", "  - {name: a, when: {keywords: []}, to: llm}\n  - {"),
        3,
        "routes[0].when.keywords",
        "must not be empty",
    ),
    (
        MINIMAL.replace("  - {", "  - {name: a, when: {keywords: [x, ' ']}, to: llm}\n  - {"),
        3,
        "routes[0].when.keywords[1]",
        "must not be blank",
    ),
]

TARGETS: list[Case] = [
    (MINIMAL + "    fallback: [lllm]\n", 8, "targets.llm.fallback[0]", "there is no target 'lllm'"),
    (MINIMAL + "    fallback: llm\n", 8, "targets.llm.fallback[0]", "can't be its own fallback"),
    (
        MINIMAL + "    fallback: b\n  b: {type: openai, instances: [{url: 'http://b'}], fallback: [llm]}\n",
        9,
        "targets.b.fallback[0]",
        "fallbacks go in a circle: llm -> b -> llm",
    ),
    (
        MINIMAL + "    retry: {initial: 2m}\n",
        8,
        "targets.llm.retry.initial",
        "2m, is longer than the longest, 1m",
    ),
    (MINIMAL + "    retry: {max: 500ms}\n", 8, "targets.llm.retry.max", "set `initial` to `max` or less"),
    (MINIMAL + "    retry: {hold_up_to: 2m}\n", 8, "targets.llm.retry.hold_up_to", "can't happen"),
    (MINIMAL + "    breaker: {slow_call: 31s}\n", 8, "targets.llm.breaker.slow_call", "given up after 30s"),
    (MINIMAL + "    breaker: {slow_rate: 0.5}\n", 8, "targets.llm.breaker.slow_rate", "without `slow_call`"),
    (MINIMAL + "    breaker: {when_open: fallback}\n", 8, "targets.llm.breaker.when_open", "no `fallback`"),
    (MINIMAL + "    timeout: 20s\n    expires_after: 10s\n", 8, "targets.llm.timeout", "expires after 10s"),
    (MINIMAL.replace("llm:", "l m:").replace("to: llm", "to: l m"), 5, "targets.l m", "letters, digits"),
    (MINIMAL.replace("http:", "ftp:"), 7, "targets.llm.instances[0].url", "must start with http"),
    (
        MINIMAL.replace("http://127.0.0.1:8091", "http://u:p4ss@h"),
        7,
        "targets.llm.instances[0].url",
        "credentials",
    ),
    (MINIMAL.replace("/v1", "/v1?key=p4ss"), 7, "targets.llm.instances[0].url", "query or fragment"),
    (MINIMAL.replace("8091", "80910"), 7, "targets.llm.instances[0].url", "is not an address"),
    (MINIMAL.replace("127.0.0.1", "127.0.0.1 "), 7, "targets.llm.instances[0].url", "blank"),
    (
        MINIMAL.replace("}]", "}, {url: 'HTTP://127.0.0.1:8091/v1/'}]"),
        7,
        "targets.llm.instances[1].url",
        "is the address of instances[0] already",
    ),
    (
        SQL.replace('= :order_id"', '= :order_id and user = :ordr_id"'),
        8,
        "targets.orders.query",
        "`:ordr_id` is not in `parameters`; did you mean 'order_id'?",
    ),
    (
        SQL.replace("= :order_id", "= 1").replace("Order {order_id}", ""),
        9,
        "targets.orders.parameters.order_id",
        "is used nowhere",
    ),
    (
        SQL.replace("pattern: '[0-9]{6,}'", ""),
        9,
        "targets.orders.parameters.order_id",
        "needs a `pattern` or a `context`",
    ),
    (
        SQL.replace("[0-9]{6,}", "[0-9"),
        9,
        "targets.orders.parameters.order_id.pattern",
        "not a regular expression",
    ),
    (
        SQL.replace("{status}", "{sattus}"),
        10,
        "targets.orders.answer",
        "nothing fills `{sattus}`; did you mean 'status'?",
    ),
    (SQL.replace("{status}", "{status"), 10, "targets.orders.answer", "is not a template"),
    (SQL.replace("{status}", "{status.__class__}"), 10, "targets.orders.answer", "is a name in braces"),
    (SQL.replace("{status}", "{}"), 10, "targets.orders.answer", "is a name in braces"),
    (SQL.replace("{status}", "{status!r:>{eta}}"), 10, "targets.orders.answer", "is a name in braces"),
    (SQL + "    not_found: 'no {status}'\n", 11, "targets.orders.not_found", "nothing fills `{status}`"),
    (
        SQL.replace("= :order_id", "= :order_id; drop table orders"),
        8,
        "targets.orders.query",
        "more than one statement",
    ),
    (SQL.replace("sqlite:///orders.db", "orders.db"), 7, "targets.orders.dsn", "is not a database address"),
]

KAFKA: list[Case] = [
    (MINIMAL + "kafka: {bootstrap: 'localhost'}\n", 8, "kafka.bootstrap", "is not HOST:PORT"),
    (MINIMAL + "kafka: {bootstrap: 'h:9092,h:99999'}\n", 8, "kafka.bootstrap", "is not HOST:PORT"),
    (MINIMAL + "kafka: {bootstrap: 'http://h:9092'}\n", 8, "kafka.bootstrap", "is not HOST:PORT"),
    (MINIMAL + "kafka: {security: {protocol: SSL}}\n", 8, "kafka.security.protocol", "embedded broker"),
    (
        MINIMAL
        + "kafka: {bootstrap: 'h:1', security: {protocol: SASL_SSL, mechanism: PLAIN, username: u}}\n",
        8,
        "kafka.security.password",
        "is missing, and SASL_SSL needs it",
    ),
    (
        MINIMAL + "kafka: {security: {username: u}}\n",
        8,
        "kafka.security.username",
        "does nothing with PLAINTEXT",
    ),
    (MINIMAL + "kafka: {security: {key_file: k}}\n", 8, "kafka.security.key_file", "key of no certificate"),
    (
        MINIMAL + "topics: {model_requests: {name: 'a b'}}\n",
        8,
        "topics.model_requests.name",
        "has no legal name",
    ),
    (
        MINIMAL + f"topics: {{fleet_logs: {{name: {'n' * 250}}}}}\n",
        8,
        "topics.fleet_logs.name",
        "249 at most",
    ),
    (MINIMAL + "topics: {fleet_logs: {name: '..'}}\n", 8, "topics.fleet_logs.name", "has no legal name"),
    (
        MINIMAL + "topics: {fleet_logs: {name: __consumer_offsets}}\n",
        8,
        "topics.fleet_logs.name",
        "Kafka's own",
    ),
    (MINIMAL + "topics: {fleet_logs: {name: model_responses}}\n", 8, "topics.fleet_logs.name", "collides"),
    (MINIMAL + "topics: {fleet_logs: {name: model.responses}}\n", 8, "topics.fleet_logs.name", "collides"),
    (
        MINIMAL + "topics: {model_requests: {partitions: 12}, dlq.model_requests: {partitions: 4}}\n",
        8,
        "topics.dlq.model_requests.partitions",
        "has 12 partitions",
    ),
    (
        MINIMAL + "topics: {dlq.model_requests: {max_message_bytes: 1MiB}}\n",
        8,
        "topics.dlq.model_requests.max_message_bytes",
        "need 1,064,972 bytes",
    ),
    (
        MINIMAL + "    topic: {max_message_bytes: 1kB}\n",
        8,
        "targets.llm.topic.max_message_bytes",
        "takes messages of 1,048,588 bytes",
    ),
    (
        MINIMAL + "topics: {dead_letter_ledger: {retention: 1d}}\n",
        8,
        "topics.dead_letter_ledger.retention",
        "compacted",
    ),
    (
        MINIMAL + "topics: {model_requests: {retention: 30s}}\n",
        8,
        "topics.model_requests.retention",
        "wait 1m for a retry",
    ),
    (MINIMAL + "stores: {redis: 'localhost:6379'}\n", 8, "stores.redis", "not the address of a Redis"),
    (MINIMAL + "once: {window: 5s}\n", 8, "once.window", "outlives the window"),
]

UNSUPPORTED: list[Case] = [
    (MINIMAL + "intents: {a: {examples: [b]}}\n", 8, "intents", "not supported yet: `intents`"),
    (MINIMAL + "    cache: {ttl: 10m}\n", 8, "targets.llm.cache", "not supported yet: `cache`"),
    (MINIMAL + "    cache: nonsense\n", 8, "targets.llm.cache", "not supported yet: `cache`"),
    (
        MINIMAL.replace("  - {", "  - {name: a, when: {intent: x, source: y}, to: llm}\n  - {"),
        3,
        "routes[0].when.intent",
        "not supported yet: `intent`",
    ),
    *(
        (
            MINIMAL.replace("openai", kind),
            6,
            "targets.llm.type",
            f"not supported yet: targets of type '{kind}'",
        )
        for kind in ("http", "websocket", "grpc", "kafka")
    ),
    (
        MINIMAL
        + "kafka: {bootstrap: 'h:1', security: {protocol: SASL_SSL, mechanism: OAUTHBEARER, username: u, password: '${P}'}}\n",
        8,
        "kafka.security.mechanism",
        "not supported yet",
    ),
]

SECRETS: list[Case] = [
    (
        MINIMAL.replace('/v1"', '/v1", api_key: p4ss'),
        7,
        "targets.llm.instances[0].api_key",
        "must not stand in the file",
    ),
    (
        MINIMAL
        + "kafka: {bootstrap: 'h:1', security: {protocol: SASL_SSL, mechanism: PLAIN, username: u, password: p4ss}}\n",
        8,
        "kafka.security.password",
        "must not stand in the file",
    ),
    (
        SQL.replace("sqlite:///orders.db", "postgresql://u:p4ss@h/db"),
        7,
        "targets.orders.dsn",
        "a password must not",
    ),
    (MINIMAL + "stores: {redis: 'redis://:p4ss@h:6379'}\n", 8, "stores.redis", "a password must not"),
]


@pytest.mark.parametrize(
    ("text", "line", "field", "says"),
    [*FORM, *FIELDS, *ROUTES, *TARGETS, *KAFKA, *UNSUPPORTED, *SECRETS],
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
            cache: {ttl: 1m}
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
