"""The same `kafka.security` for both client libraries; this is aiokafka's side."""

import ssl
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from workers.core.errors import UsageError
from workers.core.topology.model import Security
from workers.router.security import credentials

TLS = ssl.create_default_context()
LOGIN = {"mechanism": "SCRAM-SHA-512", "username": "fleet", "password": "hunter2"}


@pytest.mark.parametrize(
    ("security", "rendered"),
    [
        ({}, {"security_protocol": "PLAINTEXT"}),
        ({"protocol": "SSL"}, {"security_protocol": "SSL", "ssl_context": TLS}),
        (
            {"protocol": "SASL_PLAINTEXT", **LOGIN},
            {
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": "fleet",
                "sasl_plain_password": "hunter2",
                "ssl_context": None,
            },
        ),
        (
            {"protocol": "SASL_SSL", **LOGIN, "mechanism": "PLAIN"},
            {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "PLAIN",
                "sasl_plain_username": "fleet",
                "sasl_plain_password": "hunter2",
                "ssl_context": TLS,
            },
        ),
    ],
)
def test_each_protocol_is_rendered_for_aiokafka(security: dict[str, Any], rendered: dict[str, Any]) -> None:
    made = credentials(
        Security.model_validate(security), lambda given: TLS if given.protocol.endswith("SSL") else None
    )
    assert credentials_to_aiokafka_auth(made) == rendered


def test_the_password_is_in_no_representation() -> None:
    made = credentials(Security.model_validate({"protocol": "SASL_PLAINTEXT", **LOGIN}))
    assert "hunter2" not in repr(made)


@pytest.mark.parametrize(
    ("security", "says"),
    [
        ({"protocol": "SASL_PLAINTEXT", "mechanism": "OAUTHBEARER"}, "OAUTHBEARER"),
        ({"protocol": "SASL_PLAINTEXT", "mechanism": "PLAIN"}, "username and password"),
        ({"protocol": "SSL", "ca_file": "/no/such/ca.pem"}, "kafka.security"),
    ],
)
def test_what_cannot_work_is_refused(security: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        credentials(Security.model_construct(**{**Security().__dict__, **security}))
