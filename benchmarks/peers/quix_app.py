"""A Quix Streams application that calls httpx: `python quix_app.py KAFKA STUB NAME`.

A streaming dataframe with `apply` and `to_topic`, at-least-once, one httpx client, as its documentation shows. It takes
one message after the other.
"""

import sys
from typing import Any

import httpx
from quixstreams import Application

KAFKA, STUB, NAME = sys.argv[1:4]

client = httpx.Client(base_url=STUB, timeout=30, trust_env=False)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """One message."""
    body = {"model": "stub", "messages": [{"role": "user", "content": request["payload"]["text"]}]}
    response = client.post("/v1/chat/completions", json=body)
    response.raise_for_status()
    text = response.json()["choices"][0]["message"]["content"]
    return {"message_id": request["message_id"], "payload": {"text": text}, "status": "ok"}


def main() -> None:
    """Run until SIGTERM."""
    app = Application(
        broker_address=KAFKA, consumer_group=NAME, auto_offset_reset="earliest", loglevel="WARNING"
    )
    requests = app.topic(f"{NAME}.llm", value_deserializer="json")
    responses = app.topic(f"{NAME}.responses", value_serializer="json")
    app.dataframe(requests).apply(answer).to_topic(responses)
    app.run()


if __name__ == "__main__":
    main()
