"""The formats in which an envelope crosses the wire."""

from enum import StrEnum


class WireFormat(StrEnum):
    """How a value is written. A producer's format is answered in the same format."""

    JSON = "json"
    AVRO = "avro"  # the bundled schema, no framing; said by `content-type: avro/binary`
    AVRO_REGISTRY = "avro-registry"  # framed with the id of a schema in a registry
    CLOUDEVENTS_BINARY = "cloudevents-binary"  # attributes in `ce_*` headers
    CLOUDEVENTS_STRUCTURED = "cloudevents-structured"  # attributes and data in one JSON object
