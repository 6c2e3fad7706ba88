"""Files whose fields are right one by one and make no sense together."""

from tests.unit.topology.cases_form import Case
from tests.unit.topology.support import MINIMAL, SQL

INTENTS = "intents:\n  order: {examples: [where is it]}\n  unknown: {examples: [hello]}\n"


def rule(when: str) -> str:
    """The minimal file with a rule of this condition."""
    return MINIMAL.replace("  - {", f"  - {{name: a, when: {when}, to: llm}}\n  - {{")


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
        "is not a regular expression (RE2): missing ): (oops",
    ),
    (
        MINIMAL.replace("  - {", "  - {name: a, when: {pattern: 'a{1001}'}, to: llm}\n  - {"),
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
    (
        rule("{pattern: 'a(?=b)'}"),
        3,
        "routes[0].when.pattern",
        "look-around and back references take time without bound",
    ),
    (rule("{intent: order}"), 3, "routes[0].when.intent", "there are no intents to choose from"),
    (
        rule("{intent: odrer}") + INTENTS,
        3,
        "routes[0].when.intent",
        "there is no intent 'odrer'; did you mean 'order'?",
    ),
    (
        rule("{any: [{intent: [order, help]}, {source: web}]}") + INTENTS,
        3,
        "routes[0].when.any[0].intent[1]",
        "there is no intent 'help'",
    ),
    (rule("{source: web, min_confidence: 1}"), 3, "routes[0].when.min_confidence", "without `intent`"),
    (rule("{not: {}}"), 3, "routes[0].when.not", "holds for every message"),
    (rule("{any: []}"), 3, "routes[0].when.any", "must not be empty"),
    (rule("{any: [{not: {keywords: ' '}}]}"), 3, "routes[0].when.any[0].not.keywords[0]", "blank"),
    (rule("{not: " * 8 + "{source: x}" + "}" * 8), 3, "routes[0].when" + ".not" * 8, "nest deeper than 8"),
    (rule("{length: {min: 5, max: 4}}"), 3, "routes[0].when.length", "5 characters or more and 4 or fewer"),
    (
        rule("{language: [en, klingon]}"),
        3,
        "routes[0].when.language[1]",
        "must be one of zh, ja, ko, en, other",
    ),
    (rule("{time: {zone: Mars/Base}}"), 3, "routes[0].when.time.zone", "is no time zone"),
    (rule("{time: {zone: UTC, from: '9:00'}}"), 3, "routes[0].when.time.from", "must be a time of day"),
    (
        rule("{time: {zone: UTC, from: '09:00', to: '09:00'}}"),
        3,
        "routes[0].when.time",
        "begins when it ends",
    ),
    (MINIMAL + "intents: {a: {examples: [b]}}\n", 8, "intents", "can't be told from any other"),
    (
        MINIMAL + "intents:\n  a: {examples: [b, ' ']}\n  c: {examples: [d]}\n",
        9,
        "intents.a.examples[1]",
        "must not be blank",
    ),
    (
        MINIMAL + "intents:\n  a: {examples: [b]}\n  c: {examples: [B]}\n",
        10,
        "intents.c.examples[0]",
        "is an example of 'a' too",
    ),
    (MINIMAL + "intents: {a: {examples: []}}\n", 8, "intents.a.examples", "must not be empty"),
    (MINIMAL + 'intents: \'{"text": "x"}\'\n', 8, "intents", "line 1 is not a JSON object with the texts"),
]

PREFERENCES: list[Case] = [
    (
        MINIMAL.replace("to: llm", "to: [llm, b]") + "  b: {type: openai, instances: [{url: 'http://b'}]}\n",
        3,
        "routes[0].to",
        "nothing to choose by",
    ),
    (MINIMAL.replace("to: llm", "to: [llm, lmm], prefer: fastest"), 3, "routes[0].to[1]", "no target 'lmm'"),
    (
        MINIMAL.replace("to: llm", "to: [llm, llm], prefer: fastest"),
        3,
        "routes[0].to[1]",
        "in the list already",
    ),
    (MINIMAL.replace("to: llm", "to: llm, prefer: cheapest"), 3, "routes[0].prefer", "does nothing with one"),
    (MINIMAL.replace("to: llm", "to: [llm], prefer: best"), 3, "routes[0].prefer", "must be one of cheapest"),
    (MINIMAL.replace("to: llm", "to: []"), 3, "routes[0].to", "must not be empty"),
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
        MINIMAL + "    fallback:\n      default: []\n      timeout: [lllm]\n",
        10,
        "targets.llm.fallback.timeout[0]",
        "there is no target 'lllm'",
    ),
    (
        MINIMAL
        + "    fallback: {context_length: b}\n"
        + "  b: {type: openai, instances: [{url: 'http://b'}], fallback: {overloaded: [llm]}}\n",
        9,
        "targets.b.fallback.overloaded[0]",
        "fallbacks go in a circle: llm -> b -> llm",
    ),
    (
        MINIMAL + "    fallback: {overlaoded: [b]}\n",
        8,
        "targets.llm.fallback",
        "no failure of class 'overlaoded' falls back; did you mean 'overloaded'?",
    ),
    (
        MINIMAL + "    fallback: {schema: [b]}\n",
        8,
        "targets.llm.fallback",
        "no failure of class 'schema' falls back",
    ),
    (
        MINIMAL
        + "    breaker: {when_open: fallback}\n    fallback: {timeout: [b]}\n"
        + "  b: {type: openai, instances: [{url: 'http://b'}]}\n",
        8,
        "targets.llm.breaker.when_open",
        "no `fallback`",
    ),
    (MINIMAL + "    price: {input: cheap}\n", 8, "targets.llm.price.input", "must be an amount of money"),
    (MINIMAL + "    price: {input: -1}\n", 8, "targets.llm.price.input", "must be from 0 to"),
    (MINIMAL + "    price: {output: .nan}\n", 8, "targets.llm.price.output", "must be"),
    (MINIMAL + "    price: {input: 0.0000000001}\n", 8, "targets.llm.price.input", "9 decimals at most"),
    (MINIMAL + "    cache: {}\n", 8, "targets.llm.cache.ttl", "is missing"),
    (MINIMAL + "    cache: {ttl: 0}\n", 8, "targets.llm.cache.ttl", "must be greater than 0"),
    (
        MINIMAL + "    cache: {ttl: 1m, semantic: {threshold: 1.5}}\n",
        8,
        "targets.llm.cache.semantic.threshold",
        "must be at most 1",
    ),
    (MINIMAL + "    limits: {exceeded: wait}\n", 8, "targets.llm.limits", "limits nothing"),
    (MINIMAL + "    budget: {per_day: 5}\n", 8, "targets.llm.budget", "has no `price`"),
    (MINIMAL + "    budget: {per_day: 0}\n", 8, "targets.llm.budget.per_day", "greater than 0"),
    (MINIMAL + "tenants: {a: {budget: {per_day: 5}}}\n", 8, "tenants.a.budget", "no target has a `price`"),
    (MINIMAL + "tenants: {a: {weight: 0}}\n", 8, "tenants.a.weight", "must be greater than 0"),
    (MINIMAL + "currency: euro\n", 8, "currency", "three capital letters"),
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
