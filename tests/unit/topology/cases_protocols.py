"""Mistakes in targets that speak HTTP, WebSocket, gRPC or Kafka."""

from tests.unit.topology.cases_form import Case

HEAD = "version: 1\nroutes: [{name: default, to: t}]\ntargets:\n  t:\n"


def http(*lines: str) -> str:
    """An HTTP target with these lines, the first of them on line 7."""
    return _target("    type: http", '    instances: [{url: "http://h:1"}]', *lines)


def websocket(*lines: str) -> str:
    """A WebSocket target with these lines, the first of them on line 7."""
    return _target("    type: websocket", '    instances: [{url: "ws://h:1/ws"}]', *lines)


def grpc(*lines: str) -> str:
    """A gRPC target with these lines, the first of them on line 7."""
    return _target("    type: grpc", '    instances: [{url: "grpc://h:1"}]', *lines)


def kafka(*lines: str) -> str:
    """A Kafka target with these lines, the first of them on line 8."""
    return _target("    type: kafka", "    requests: a", "    responses: b", *lines)


def _target(*lines: str) -> str:
    return HEAD + "".join(f"{line}\n" for line in lines)


def _case(text: str, line: int, field: str, says: str) -> Case:
    return (text, line, f"targets.t.{field}", says)


PROTOCOLS: list[Case] = [
    _case(http().replace("http://h", "ws://h"), 6, "instances[0].url", "must start with http:// or https://"),
    _case(http("    path: items"), 7, "path", "must start with `/`"),
    _case(http('    path: "/{payload.text"'), 7, "path", "has a `{` alone; write `{{`"),
    _case(http('    path: "/{text}"'), 7, "path", "a path starts with one of envelope, message_id"),
    _case(http('    query: {q: "{payload .text}"}'), 7, "query.q", "which is no path"),
    _case(http("    body:", '      deep: [1, "{}"]'), 8, "body.deep[1]", "which is no path"),
    _case(http("    method: GET", "    body: {q: 1}"), 8, "body", "is not sent with GET"),
    _case(http("    method: FETCH"), 7, "method", "must be one of GET, POST"),
    _case(http("    headers: {Host: h}"), 7, "headers.Host", "is set by the fleet itself"),
    _case(http('    headers: {"a b": c}'), 7, "headers.a b", "is no name of a header"),
    _case(http('    headers: {a: "b\\nc"}'), 7, "headers.a", "no header can carry"),
    _case(http("    headers: {x-api-key: v}"), 7, "headers.x-api-key", "put it into `secret_headers`"),
    _case(http("    secret_headers: {a: p4ss}"), 7, "secret_headers.a", "must not stand in the file"),
    _case(
        http("    headers: {A: b}", '    secret_headers: {a: "${P}"}'),
        7,
        "headers.A",
        "name it once",
    ),
    _case(http("    pass_headers: [Authorization]"), 7, "pass_headers[0]", "no header that may be passed on"),
    _case(
        http("    oauth2: {token_url: h, client_id: c, client_secret: '${P}'}"),
        7,
        "oauth2.token_url",
        "must start with http://",
    ),
    _case(
        http("    oauth2: {token_url: 'http://h/t', client_id: c, client_secret: p4ss}"),
        7,
        "oauth2.client_secret",
        "must not stand in the file",
    ),
    _case(
        http("    oauth2: {token_url: 'http://h/t', client_id: c, client_secret: '${P}'}").replace(
            ':1"}', ':1", api_key: "${P}"}'
        ),
        7,
        "oauth2",
        "is not the only authorization",
    ),
    _case(http("    answer: {text: '$.['}"), 7, "answer.text", "is not a JSONPath"),
    _case(http("    answer: {errors: {'422': nonsense}}"), 7, "answer.errors.422", "must be one of"),
    _case(http("    stream: {text: '$.[', done: '$.d'}"), 7, "stream.text", "is not a JSONPath"),
    _case(websocket().replace("ws://", "http://"), 6, "instances[0].url", "must start with ws:// or wss://"),
    _case(websocket("    body: [1]"), 7, "body", "must be a mapping"),
    _case(websocket("    reply_id: '$.['"), 7, "reply_id", "is not a JSONPath"),
    _case(websocket("    stream: {text: $.d}"), 7, "stream", "needs `done`"),
    _case(websocket("    answer: {format: text}"), 7, "answer.format", "can't be text"),
    _case(websocket("    tls: {ca_file: a}"), 7, "tls", "no address is wss:// or grpcs://"),
    _case(websocket("    connections: 0"), 7, "connections", "must be at least 1"),
    _case(grpc().replace(":1", ":1/x"), 6, "instances[0].url", "must have no path"),
    _case(grpc("    metadata: {A-Big: b}"), 7, "metadata.A-Big", "is no name of metadata"),
    _case(
        grpc("    tls: {key_file: a}").replace("grpc://", "grpcs://"),
        7,
        "tls.key_file",
        "is the key of no certificate",
    ),
    _case(kafka("    kafka: {bootstrap: nowhere}"), 8, "kafka.bootstrap", "is not HOST:PORT"),
    _case(kafka("    kafka: {}"), 8, "kafka.bootstrap", "must be an address here"),
    _case(
        kafka("    kafka: {bootstrap: 'h:1'}").replace(": b\n", ": a\n"),
        7,
        "responses",
        "is the topic of `requests`",
    ),
    (kafka(), 4, "targets.t", "is missing"),
]
