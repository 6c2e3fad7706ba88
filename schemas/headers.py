"""Names of the record headers. All values are UTF-8 text; a name is overwritten, never repeated."""

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
CONTENT_TYPE = "content-type"

# Kafka's own names for dead letters (KIP-1191).
DLQ_TOPIC = "__dlq.errors.topic"
DLQ_PARTITION = "__dlq.errors.partition"
DLQ_OFFSET = "__dlq.errors.offset"
DLQ_GROUP = "__dlq.errors.group"
DLQ_DELIVERY_COUNT = "__dlq.errors.delivery.count"
DLQ_MESSAGE = "__dlq.errors.message"

PREFIX = "relay."
MESSAGE_ID = "relay.message-id"
SOURCE = "relay.source"
TARGET = "relay.target"
INSTANCE = "relay.instance"
ROUTE = "relay.route"  # the name of the rule
ATTEMPT = "relay.attempt"  # attempts used so far
DEFERRALS = "relay.deferrals"  # waits that burnt no attempt
NOT_BEFORE = "relay.not-before"  # epoch milliseconds
DEADLINE = "relay.deadline"  # epoch milliseconds
ERROR_CLASS = "relay.error.class"
ERROR_STAGE = "relay.error.stage"
ERROR_STATUS = "relay.error.status"
FIRST_FAILED_AT = "relay.first-failed-at"  # epoch milliseconds, write once
LAST_FAILED_AT = "relay.last-failed-at"  # epoch milliseconds
ORIGIN_TOPIC = "relay.origin.topic"  # write once, as the next two
ORIGIN_PARTITION = "relay.origin.partition"
ORIGIN_OFFSET = "relay.origin.offset"
FINGERPRINT = "relay.fingerprint"
REPLAY_ID = "relay.replay.id"
REPLAY_COUNT = "relay.replay.count"
REPLAY_BY = "relay.replay.by"
REPLY_PARTITION = "relay.reply-partition"
RECEIVED_AT = "relay.received-at"  # epoch milliseconds: the broker's timestamp of the request, for `timing`
ROUTED_AT = "relay.routed-at"  # epoch milliseconds
