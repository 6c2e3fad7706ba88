"""What all parts of the typed topology are made of."""

from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)

from workers.core.redact import MASK
from workers.core.topology.values import one_or_many, visible

Text = Annotated[str, AfterValidator(visible)]
TextList = Annotated[
    tuple[str, ...],
    BeforeValidator(one_or_many),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""Texts; a single one may be written without a list."""
Secret = Annotated[SecretStr, PlainSerializer(lambda _: MASK, when_used="json", return_type=str)]
"""Masked when dumped as JSON."""


class Strict(BaseModel):
    """Unknown keys are refused and nothing changes after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False, protected_namespaces=()
    )
