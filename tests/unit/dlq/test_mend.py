"""Changing what a dead letter says."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from dlq_tools.mend import describe, mender
from schemas.codec import decode_request, encode_request
from schemas.dead_letter import DeadLetter, read_dead_letter
from schemas.formats import WireFormat
from schemas.headers import Headers
from tests.dlq_world import envelope
from workers.core.errors import UsageError


def _letter(value: bytes, headers: Headers = ()) -> DeadLetter:
    return read_dead_letter("dlq.model_requests", 0, 7, b"k", value, headers, 1)


def _mended(
    dead: DeadLetter, *sets: str, jq: str | None = None, file: Path | None = None
) -> dict[str, Any] | None:
    changed = mender(describe(sets, jq, file))(dead)
    if changed is None:
        return None
    found: dict[str, Any] = orjson.loads(changed.value or b"")
    return found


def test_without_changes_every_byte_stays() -> None:
    dead = _letter(b"\x00 not even text")
    assert mender(())(dead) is dead


def test_set_changes_and_makes_fields() -> None:
    found = _mended(_letter(envelope(1)), "payload.text=hello there", "payload.parameters.max_tokens=256")
    assert found is not None
    assert found["payload"] == {"text": "hello there", "parameters": {"max_tokens": 256}}
    assert found["message_id"] == "m-1"


def test_what_was_no_envelope_can_be_made_one() -> None:
    found = _mended(_letter(b'{"message_id": "a", "payload": {}, "timestamp": 1}'), "source=web")
    assert found is not None
    assert found["source"] == "web"


def test_a_jq_program_changes_or_leaves_out() -> None:
    found = _mended(_letter(envelope(1)), jq='.payload.text |= "<" + . + ">"')
    assert found is not None
    assert found["payload"]["text"] == "<你好>"
    assert _mended(_letter(envelope(1)), jq='select(.source == "app")') is None


def test_a_transform_changes_or_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "t.py"
    file.write_text(
        "def transform(e):\n    return {**e, 'source': 'app'} if e['message_id'] == 'm-1' else None\n"
    )
    found = _mended(_letter(envelope(1)), file=file)
    assert found is not None
    assert found["source"] == "app"
    assert _mended(_letter(envelope(2)), file=file) is None


def test_avro_stays_avro() -> None:
    request = decode_request(envelope(1)).request
    encoded = encode_request(request, WireFormat.AVRO)
    headers = tuple((name, value.encode()) for name, value in encoded.headers.items())
    changed = mender(describe(["payload.text=x"], None, None))(_letter(encoded.value, headers))
    assert changed is not None
    found = decode_request(changed.value, changed.headers)
    assert (found.request.payload.text, found.format) == ("x", WireFormat.AVRO)


@pytest.mark.parametrize(
    ("sets", "jq", "what"),
    [
        (["payload.text"], None, "path.to.field=VALUE"),
        ([], ".payload |", "does not compile"),
        ([], ".payload, .source", "must give one object"),
        (["payload.text=5"], None, "payload.text"),
        (["message_id.x=1"], None, "dlq.model_requests:0:7"),
    ],
)
def test_a_change_that_cannot_be_made_says_why(sets: list[str], jq: str | None, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        _mended(_letter(envelope(1)), *sets, jq=jq)


def test_a_transform_that_raises_names_the_message(tmp_path: Path) -> None:
    file = tmp_path / "t.py"
    file.write_text("def transform(e):\n    return e['nope']\n")
    with pytest.raises(UsageError, match=r"dlq\.model_requests:0:7 .*KeyError.*nothing was sent"):
        _mended(_letter(envelope(1)), file=file)


def test_a_transform_that_changed_since_the_job_began_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.py"
    file.write_text("def transform(e):\n    return e\n")
    changes = describe([], None, file)
    file.write_text("def transform(e):\n    return None\n")
    with pytest.raises(UsageError, match="not the same"):
        mender(changes)


def test_what_is_no_object_is_said_to_be_none() -> None:
    with pytest.raises(UsageError, match="no JSON object"):
        _mended(_letter(b"[1]"), "a=1")
