"""A piece of an answer that is still being written, on `model_chunks`.

Readers put an answer together so: a chunk with another `run` and `index` 0 begins the answer anew, since the attempt
before it broke; any other chunk that does not follow on the last one of its `run` is left out. What counts in the end
is the response, which comes after all chunks and holds the whole answer.
"""

from typing import Any, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from schemas.envelope import LAST_SECOND, MAX_COUNT


class Chunk(BaseModel):
    """A piece of a streamed answer. `timestamp` is epoch seconds."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, hide_input_in_errors=True)

    message_id: str = Field(min_length=1)
    attempt: int = Field(ge=1, le=MAX_COUNT)  # the chunks of a later one replace those of an earlier one
    run: str  # differs wherever an attempt was begun anew, also after a crash, where the number is the same
    index: int = Field(ge=0, le=MAX_COUNT)  # within the run, from 0 and without gaps
    text: str = ""
    delta: dict[str, Any] = Field(
        default_factory=dict
    )  # what else came (`tool_calls`, …), as the model sent it
    choice: int = Field(default=0, ge=0, le=MAX_COUNT)  # of several answers to one request, which
    finish_reason: str | None = None  # of this choice
    final: bool = False  # the run is complete
    model: str | None = None  # with the first chunk
    timestamp: float = Field(ge=0, le=LAST_SECOND)

    def model_dump_wire(self) -> dict[str, Any]:
        """The fields as they go on the wire: JSON types, nulls left out."""
        return self.model_dump(mode="json", exclude_none=True)


class ChunkFields(TypedDict, total=False):
    """`Chunk` as a literal, for the hot path: checked by the type checker, written without building models."""

    message_id: str
    attempt: int
    run: str
    index: int
    text: str
    delta: dict[str, Any]
    choice: int
    finish_reason: str | None
    final: bool
    model: str | None
    timestamp: float
