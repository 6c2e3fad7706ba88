"""Targets of every protocol, small enough for a test."""

from typing import Any

from pydantic import TypeAdapter

from tests.backs import STATUSES
from workers.core.topology.model import (
    GrpcTarget,
    HttpTarget,
    KafkaTarget,
    WebSocketTarget,
)

SECRET = "sk-CANARY-1234567890"


def http_target(url: str, **settings: Any) -> HttpTarget:
    """What `tests.backs.http_service` is asked through."""
    errors = {str(status): error_class for error_class, status in STATUSES.items()}
    return HttpTarget.model_validate(
        {
            "type": "http",
            "instances": [{"url": url, "api_key": SECRET}],
            "body": {"question": "{payload.text}"},
            "answer": {
                "text": "$.answer.text",
                "model": "$.answer.model",
                "prompt_tokens": "$.used.in",
                "completion_tokens": "$.used.out",
                "error": "$.error.code",
                "errors": errors,
            },
            "stream": {"text": "$.delta", "done": "$.done", "add": {"stream": True}},
            **settings,
        }
    )


def websocket_target(url: str, **settings: Any) -> WebSocketTarget:
    """What `tests.backs.websocket_service` is asked through."""
    return WebSocketTarget.model_validate(
        {
            "type": "websocket",
            "instances": [{"url": url, "api_key": SECRET}],
            "body": {"question": "{payload.text}"},
            "stream": {"text": "$.delta", "done": "$.done", "add": {"stream": True}},
            **settings,
        }
    )


def grpc_target(url: str, **settings: Any) -> GrpcTarget:
    """What `tests.backs.grpc_service` is asked through."""
    return GrpcTarget.model_validate(
        {"type": "grpc", "instances": [{"url": url, "api_key": SECRET}], **settings}
    )


def kafka_target(bootstrap: str, requests: str, responses: str, **settings: Any) -> KafkaTarget:
    """What `tests.backs.kafka_service` is asked through."""
    adapter: TypeAdapter[KafkaTarget] = TypeAdapter(KafkaTarget)
    return adapter.validate_python(
        {
            "type": "kafka",
            "kafka": {"bootstrap": bootstrap},
            "requests": requests,
            "responses": responses,
            "concurrency": 100,
            **settings,
        }
    )
