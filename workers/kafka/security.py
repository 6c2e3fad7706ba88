"""The topology's Kafka security as librdkafka wants it."""

from pydantic import SecretStr

from workers.core.errors import UsageError
from workers.core.topology.model import Kafka, Security

Config = dict[str, object]
"""librdkafka's configuration. May hold passwords: never print it."""


def client_config(kafka: Kafka, client_id: str = "relayfleet") -> Config:
    """What every librdkafka client needs to reach this Kafka.

    Raises `UsageError` while `bootstrap` still says `embedded`: whoever starts the broker replaces it by an address.
    """
    if kafka.bootstrap == "embedded":
        raise UsageError(
            "kafka.bootstrap is 'embedded' but no broker was started here: run `relayfleet broker start`, or set "
            "KAFKA_BOOTSTRAP=HOST:PORT"
        )
    config: Config = {
        "bootstrap.servers": kafka.bootstrap,
        "client.id": client_id,
        "security.protocol": kafka.security.protocol,
        "socket.keepalive.enable": True,
        # A broker that comes back is found within two seconds, not ten.
        "reconnect.backoff.max.ms": 2000,
    }
    return config | _credentials(kafka.security)


def _credentials(security: Security) -> Config:
    """The keys that are set; librdkafka refuses empty ones."""
    known = {
        "sasl.mechanism": security.mechanism,
        "sasl.username": security.username,
        "sasl.password": _plain(security.password),
        "ssl.ca.location": security.ca_file,
        "ssl.certificate.location": security.certificate_file,
        "ssl.key.location": security.key_file,
        "ssl.key.password": _plain(security.key_password),
    }
    return {name: value for name, value in known.items() if value is not None}


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
