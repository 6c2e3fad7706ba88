"""A chat completion's answer, or what its error means. Providers echo prompts in error texts: those are never kept."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.codec import jsontext
from schemas.errors import DecodeError, ErrorClass
from workers.backends.counts import is_count, together
from workers.backends.http_errors import failure, status_class
from workers.core.errors import MessageError
from workers.core.ports import Answer, Usage

_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_CONTEXT_CODES = frozenset(
    {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
)
_CONTEXT_TEXTS = re.compile(
    r"context (?:length|size|window)|prompt is too long|too many (?:input )?tokens|max_new_tokens` must be",
    re.IGNORECASE,
)
_FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})


def parse(name: str, status: int, data: bytes) -> Answer:
    """The answer of backend `name` in a 2xx response. Raises `MessageError` where there is none in it."""
    body = _load(data)
    if not isinstance(body, dict):
        raise failure(ErrorClass.UPSTREAM_5XX, f"{name} sent an answer that is not whole JSON", status=status)
    return answer(name, status, body)


def answer(name: str, status: int, body: Mapping[str, Any]) -> Answer:
    """The answer in a chat completion. Raises `MessageError` where there is none in it."""
    choice = _first(body.get("choices"))
    if choice is None:
        raise no_answer(name, status, body)
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        filtered = failure(
            ErrorClass.CONTENT_FILTER, f"{name} filtered its answer for its content", status=status
        )
        filtered.usage = _usage(body.get("usage"))
        raise filtered
    model = body.get("model")
    return Answer(
        text=_text(name, status, choice),
        model=model if isinstance(model, str) else None,
        finish_reason=reason if isinstance(reason, str) else None,
        usage=_usage(body.get("usage")),
        choices=_more_than_text(body["choices"]),
    )


def refusal(name: str, status: int, data: bytes, retry_after: float | None) -> MessageError:
    """What a response other than 2xx means. Keeps the error's code or type, never its text."""
    body = _load(data)
    error = body.get("error", body) if isinstance(body, dict) else None
    error_class, code = _refine(status_class(status), error)
    what = f"{name} answered {status}" + (f" ({code})" if code else "")
    return failure(error_class, what, status=status, retry_after=retry_after)


def no_answer(name: str, status: int, body: Mapping[str, Any]) -> MessageError:
    """What a response without choices means."""
    if "error" not in body:
        return failure(ErrorClass.UPSTREAM_5XX, f"{name} sent an answer without choices", status=status)
    error_class, code = _refine(ErrorClass.UPSTREAM_5XX, body["error"])
    what = f"{name} answered {status} with an error" + (f" ({code})" if code else "")
    return failure(error_class, what, status=status)


def _refine(error_class: ErrorClass, error: Any) -> tuple[ErrorClass, str | None]:
    """A closer class, and the error's code or type, from an error object in the forms that servers use."""
    if not isinstance(error, dict):
        return error_class, None
    inner = error.get("innererror")
    codes = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    words = [code for code in codes if isinstance(code, str) and _WORD.fullmatch(code)]
    if error_class in {ErrorClass.UPSTREAM_4XX, ErrorClass.UPSTREAM_5XX}:
        message = error.get("message")
        if _FILTER_CODES.intersection(words):
            error_class = ErrorClass.CONTENT_FILTER
        elif _CONTEXT_CODES.intersection(words) or (
            error_class is ErrorClass.UPSTREAM_4XX
            and isinstance(message, str)
            and _CONTEXT_TEXTS.search(message)
        ):
            error_class = ErrorClass.CONTEXT_LENGTH
    param = error.get("param")
    if words and isinstance(param, str) and _WORD.fullmatch(param):
        return error_class, f"{words[0]}: {param}"
    return error_class, words[0] if words else None


def _load(data: bytes) -> Any:
    """None for what is no JSON, and for what is nested deeper than we could write it again."""
    try:
        return jsontext.loads(data)
    except DecodeError:
        return None


def _first(choices: Any) -> Mapping[str, Any] | None:
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return None


def _text(name: str, status: int, choice: Mapping[str, Any]) -> str:
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if isinstance(message, dict) and (message.get("tool_calls") or message.get("function_call")):
        return ""
    if isinstance(message, dict) and message.get("refusal"):
        raise failure(ErrorClass.CONTENT_FILTER, f"{name} refused to answer", status=status)
    if choice.get("finish_reason") == "length":
        return ""  # a reasoning model that spent all its tokens before the first word
    raise failure(ErrorClass.UPSTREAM_5XX, f"{name} sent an answer without text", status=status)


def _more_than_text(choices: Sequence[Any]) -> Sequence[Mapping[str, Any]] | None:
    """The choices where they say more than the text of the first; most models fill up with nulls and empty lists."""
    whole = [choice for choice in choices if isinstance(choice, dict)]
    more = len(whole) > 1 or _beside(whole[0], _CHOICE) or _beside(whole[0].get("message"), _MESSAGE)
    return whole if more else None


_CHOICE = frozenset({"index", "message", "finish_reason"})
_MESSAGE = frozenset({"role", "content"})


def _beside(fields: Any, usual: frozenset[str]) -> bool:
    if isinstance(fields, dict):
        for name, value in fields.items():
            if name not in usual and value not in (None, [], {}, ""):
                return True
    return False


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if not (is_count(prompt) and is_count(completion)):
        return None
    total = usage.get("total_tokens")
    return Usage(prompt, completion, total if is_count(total) else together(prompt, completion))
