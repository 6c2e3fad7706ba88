"""What the HTTP interface is, for machines and for people: `/openapi.json`, and a page to try it at."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from schemas.chunk import Chunk
from schemas.envelope import Payload
from schemas.envelope import Request as Envelope
from schemas.response import Response as ResponseEnvelope

_PAGE = Path(__file__).with_name("page.html")
# Nothing is loaded from elsewhere, and no other page may frame this one.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ID = {"type": "string", "minLength": 1, "maxLength": 256}
_PROBLEMS = {
    "400": "The request can't be read.",
    "401": "Nobody whom we know.",
    "403": "The target is not among the client's.",
    "404": "There is no such target.",
    "413": "The body or the text is too large.",
    "415": "The body is no JSON.",
    "422": "The request can be read and is not what is needed, or the fleet refused it.",
    "429": "Too much at once: come again after Retry-After.",
    "431": "The headers are too large.",
    "500": "A fault of ours.",
    "502": "The model failed.",
    "503": "Not now: Kafka is away, or the gateway is starting, stopping or full. Come again after Retry-After.",
    "504": "The model took too long, or the request came too late.",
}


def description_routes() -> list[Route]:
    """Where both are."""
    return [
        Route("/openapi.json", _openapi, methods=["GET"]),
        Route("/", _page, methods=["GET"]),
        Route("/docs", _page, methods=["GET"]),
    ]


async def _openapi(_request: Request) -> Response:
    return Response(_text(), media_type="application/json")


async def _page(_request: Request) -> Response:
    return HTMLResponse(_PAGE.read_text(encoding="utf-8"), headers={"Content-Security-Policy": _POLICY})


@cache
def _text() -> str:
    return json.dumps(description(), ensure_ascii=False)


@cache
def description() -> dict[str, Any]:
    """The OpenAPI 3.1 description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Relayfleet gateway",
            "version": "1",
            "description": "Ask the fleet's models. An answer that does not come in time is found under its id.",
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}, {"key": []}],
        "paths": {
            "/api/forward": {"post": _forward()},
            "/api/responses/{message_id}": {"get": _response()},
            "/openapi.json": {"get": _plain("description", "This description.", "application/json")},
            "/": {"get": _plain("page", "A page to try it at.", "text/html")},
            "/docs": {"get": _plain("docs", "The same page.", "text/html")},
        },
        "components": {"schemas": _schemas(), "securitySchemes": _security()},
    }


def _forward() -> dict[str, Any]:
    done = {
        "description": "The answer.",
        "headers": {"Content-Location": {"schema": {"type": "string"}}},
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Response"}},
            "text/event-stream": {"schema": _events()},
        },
    }
    return {
        "operationId": "forward",
        "summary": "Ask, and wait for the answer or get an id",
        "parameters": [
            _parameter(
                "target",
                "query",
                {"type": "string", "minLength": 1},
                "Which target answers; else the routes say.",
            ),
            _parameter(
                "stream",
                "query",
                {"type": "string", "enum": ["true", "false"]},
                "Events as the answer is written.",
            ),
            _parameter("Prefer", "header", {"type": "string"}, "`wait=N` seconds, or `respond-async`."),
            _parameter(
                "Idempotency-Key",
                "header",
                {**_ID, "pattern": "^[!-~]+$"},
                "The message_id: asked again, the same answer.",
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [
                            {"$ref": "#/components/schemas/Question"},
                            {"$ref": "#/components/schemas/Envelope"},
                        ]
                    },
                    "example": {"text": "推荐一款5000元以内的笔记本电脑", "context": {}},
                }
            },
        },
        "responses": {"200": done, "202": _later(), **_problems(*_PROBLEMS)},
    }


def _events() -> dict[str, Any]:
    """Each event: before 3.2, OpenAPI has no other place for it than the schema of the whole."""
    told = {"chunk": "Chunk", "response": "Response", "pending": "Pending", "error": "Problem"}
    return {"oneOf": [_event(name, f"#/components/schemas/{schema}") for name, schema in told.items()]}


def _event(name: str, schema: str) -> dict[str, Any]:
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"$ref": schema}}
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {"event": {"const": name}, "data": data},
    }


def _response() -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Response"}}}
    found = {"description": "The outcome, an answer or an error.", "content": content}
    missing = {"404": {"description": "Nothing is known under this id.", "content": _problem()}}
    return {
        "operationId": "response",
        "summary": "Come back for an answer",
        "parameters": [_parameter("message_id", "path", _ID, "The id of the request.")],
        "responses": {"200": found, "202": _later(), **missing, **_problems("401", "431", "500", "503")},
    }


def _later() -> dict[str, Any]:
    return {
        "description": "Under way; come back at Location.",
        "headers": {
            "Location": {"schema": {"type": "string"}},
            "Retry-After": {"schema": {"type": "string"}},
        },
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pending"}}},
    }


def _plain(name: str, summary: str, media_type: str) -> dict[str, Any]:
    ok = {"description": summary, "content": {media_type: {}}}
    return {"operationId": name, "summary": summary, "responses": {"200": ok, **_problems("431")}}


def _problems(*statuses: str) -> dict[str, Any]:
    return {status: {"description": _PROBLEMS[status], "content": _problem()} for status in statuses}


def _problem() -> dict[str, Any]:
    return {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def _parameter(name: str, place: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": schema,
        "description": description,
    }


def _schemas() -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    models: dict[str, type[BaseModel]] = {
        "Payload": Payload,
        "Envelope": Envelope,
        "Response": ResponseEnvelope,
        "Chunk": Chunk,
    }
    for name, model in models.items():
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = schema
    filled_in = ("message_id", "source", "timestamp")
    envelope = schemas["Envelope"]
    envelope["required"] = [name for name in envelope["required"] if name not in filled_in]
    envelope["description"] = "A whole envelope; what is missing of id, source and time is filled in."
    schemas["Question"] = {
        "description": "A text, its context, and whatever else belongs into the payload of an envelope.",
        "allOf": [{"$ref": "#/components/schemas/Payload"}],
        "required": ["text"],
        "not": {"required": ["payload"]},
    }
    schemas["Pending"] = {
        "type": "object",
        "required": ["message_id", "status", "location"],
        "properties": {
            "message_id": _ID,
            "status": {"const": "pending"},
            "location": {"type": "string"},
        },
    }
    schemas["Problem"] = {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "message_id": {"type": "string"},
            "request_id": {"type": "string"},
            "target": {"type": "string"},
            "retryable": {"type": "boolean"},
        },
    }
    return schemas


def _security() -> dict[str, Any]:
    return {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a token."},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
