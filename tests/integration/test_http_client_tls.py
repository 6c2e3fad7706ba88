"""TLS of the backends' HTTP client on real sockets, with both event loops: who gets a prompt."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.errors import ErrorClass
from tests.scripted_http import (
    OK,
    Guest,
    Scenario,
    answers,
    called,
    calling,
    failure,
    get,
    on_the_loop_of_workers,
    serving,
)
from workers.backends import http_client


def certificate(folder: Path, name: x509.GeneralName) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for `name`, and the file that clients have to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relayfleet test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, secret = folder / "trusted.pem", folder / "key.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, secret)
    return context, trusted


@pytest.mark.parametrize(
    ("name", "trusted", "says"),
    [
        (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), True, None),
        (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), False, "certificate"),
        (x509.DNSName("elsewhere.example"), True, "certificate"),
    ],
    ids=["trusted", "unknown issuer", "another host"],
)
async def test_only_a_server_that_proves_its_name_gets_a_prompt(
    name: x509.GeneralName, trusted: bool, says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, file = certificate(tmp_path, name)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    http_client._tls.cache_clear()
    try:
        async with serving(answers, tls=context) as server, calling(server.address) as client:
            if says is None:
                assert [await get(client), await get(client)] == [b"hi", b"hi"]
                assert len(server.guests) == 1
            else:
                error = await failure(client)
                assert error.error_class is ErrorClass.CONNECT
                assert says in error.reason
            assert server.requests == (2 if says is None else 0)
    finally:
        http_client._tls.cache_clear()


async def test_a_server_that_does_not_speak_tls_is_a_connection_failure() -> None:
    async def plain(guest: Guest) -> None:
        guest.writer.write(OK)
        await guest.leaves()

    async with serving(plain) as server, calling(server.address.replace("http:", "https:")) as client:
        assert (await failure(client)).error_class is ErrorClass.CONNECT


SCENARIOS = (test_a_server_that_does_not_speak_tls_is_a_connection_failure,)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=called)
def test_the_event_loop_that_workers_run_on_does_the_same(scenario: Scenario) -> None:
    on_the_loop_of_workers(scenario)
