"""Files that ask of Kafka, of the fleet or of the reader's discretion what none of them gives."""

from tests.unit.topology.cases_form import Case
from tests.unit.topology.support import MINIMAL, SQL

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
