"""Secrets masked wherever text leaves the process: logs, printed settings, error reasons."""

import re

MASK = "***"

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{6,}"), rf"\1 {MASK}"),
    (re.compile(r"\b(?:sk|pk|rk|ghp|gho|xox[abp])[-_][A-Za-z0-9_-]{6,}"), MASK),
    (re.compile(r"\bAKIA[0-9A-Z]{12,}"), MASK),
    (re.compile(r"(?i)([a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s@/]+@"), rf"\1:{MASK}@"),
    (
        re.compile(
            r"(?i)([\w.-]*(?:password|passwd|secret|api[_-]?key|access[_-]?token|sasl\.jaas\.config)[\w.-]*"
            r"[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+"
        ),
        rf"\1{MASK}",
    ),
)
_SECRET_NAME = re.compile(r"(?i)password|passwd|secret|api[_-]?key|token$|authorization|credential|dsn$")


def redact(text: str) -> str:
    """`text` with everything that looks like a secret replaced."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret, whatever its value looks like."""
    return _SECRET_NAME.search(name) is not None
