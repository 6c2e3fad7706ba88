"""librdkafka's own mock cluster: a broker in this process that answers with the errors a test asks for.

It serves produce, fetch and consumer groups; it fences nobody and knows no administration, so that promises about
those are tested on a real broker.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import files
from pathlib import Path

from tests.support import unavailable

PRODUCE, LIST_OFFSETS, OFFSET_COMMIT, OFFSET_FETCH, CONSUMER_GROUP_HEARTBEAT = 0, 2, 8, 9, 68
_PRODUCER = 0
# The tags of `rd_kafka_producev`'s arguments.
_V_TOPIC, _V_PARTITION, _V_VALUE, _V_HEADER = 1, 3, 4, 9


def _library() -> ctypes.CDLL:
    found = [item for item in files("confluent-kafka") or [] if "librdkafka" in item.name]
    if not found:
        unavailable("this build of confluent-kafka has its librdkafka elsewhere")
    library = ctypes.CDLL(str(Path(str(found[0].locate()))))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library


class MockCluster:
    """One mock cluster; see `mock_cluster`."""

    def __init__(self, brokers: int) -> None:
        self._library = _library()
        text = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(self._library.rd_kafka_conf_new())
        self._library.rd_kafka_conf_set(conf, b"log_level", b"0", text, 512)
        self._handle = ctypes.c_void_p(self._library.rd_kafka_new(_PRODUCER, conf, text, 512))
        self._cluster = ctypes.c_void_p(self._library.rd_kafka_mock_cluster_new(self._handle, brokers))
        self.bootstrap: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create_topic(self, topic: str, partitions: int) -> None:
        """Create a topic with one replica."""
        self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)

    def fail(self, api: int, errors: Sequence[int]) -> None:
        """Answer the next requests of this kind with these error codes, one each."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(api), ctypes.c_size_t(len(errors)), codes
        )

    def forget_api(self, api: int) -> None:
        """Be a broker that does not know this request."""
        self._library.rd_kafka_mock_set_apiversion(
            self._cluster, ctypes.c_int16(api), ctypes.c_int16(-1), ctypes.c_int16(-1)
        )

    def down(self, broker: int = 1) -> None:
        """Cut a broker off."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, ctypes.c_int32(broker))

    def up(self, broker: int = 1) -> None:
        """Bring it back."""
        self._library.rd_kafka_mock_broker_set_up(self._cluster, ctypes.c_int32(broker))

    def produce_raw_header(self, topic: str, name: bytes, value: bytes) -> None:
        """Write a record with a header name of any bytes, which no Python client would."""
        text, library = ctypes.create_string_buffer(512), self._library
        conf = ctypes.c_void_p(library.rd_kafka_conf_new())
        library.rd_kafka_conf_set(conf, b"bootstrap.servers", self.bootstrap.encode(), text, 512)
        producer = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, conf, text, 512))
        code = library.rd_kafka_producev(
            producer,
            *(_V_TOPIC, ctypes.c_char_p(topic.encode())),
            *(_V_PARTITION, ctypes.c_int32(0)),
            *(_V_VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
            *(_V_HEADER, ctypes.c_char_p(name), ctypes.c_char_p(b"x"), ctypes.c_ssize_t(1)),
            0,
        )
        assert code == 0
        assert library.rd_kafka_flush(producer, 5000) == 0
        library.rd_kafka_destroy(producer)

    def destroy(self) -> None:
        """Stop it."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)


@contextmanager
def mock_cluster(brokers: int = 1) -> Iterator[MockCluster]:
    """A mock cluster for a test. Skips where librdkafka can't be found as a file."""
    cluster = MockCluster(brokers)
    try:
        yield cluster
    finally:
        cluster.destroy()
