"""Who is let in: keys, certificates, tokens, and everything that only looks like one."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from workers.core.clock import ManualClock
from workers.core.errors import UnreachableError, UsageError
from workers.core.topology.gateway import Gateway, Jwt
from workers.core.topology.tenants import Tenant
from workers.gateway.auth import Authenticator, Credentials, Identity, hash_of, new_key
from workers.gateway.refusals import RefusalError
from workers.gateway.tokens import Tokens, reader_of

SETTINGS = Jwt(jwks="keys.json", issuer="https://id.example", audience="relayfleet")
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, name: str) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        shown = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())
    else:
        shown = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())
    return {**orjson.loads(shown), "kid": name, "use": "sig"}


class Keys:
    """A key set that changes, and may be away."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.read = 0
        self.away = False

    async def __call__(self) -> bytes:
        self.read += 1
        if self.away:
            raise UnreachableError("nobody answers (injected)")
        return orjson.dumps({"keys": self.keys})


def token(key: Any = RSA, name: str | None = "k1", algorithm: str = "RS256", **changes: Any) -> str:
    now = datetime.now(UTC)
    claims: dict[str, Any] = {
        "iss": SETTINGS.issuer,
        "aud": SETTINGS.audience,
        "exp": now + timedelta(minutes=5),
        "tenant": "acme",
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": name} if name is not None else None)


@pytest.fixture
def keys() -> Keys:
    return Keys(public(RSA, "k1"))


@pytest.fixture
async def tokens(keys: Keys) -> Tokens:
    made = Tokens(SETTINGS, keys, ManualClock())
    await made.start()
    return made


def authenticator(tokens: Tokens | None = None, **tenants: Tenant) -> Authenticator:
    return Authenticator(Gateway(), tenants, tokens)


def shown(**proofs: str) -> Credentials:
    return Credentials("10.0.0.1", **proofs)


async def test_where_no_way_is_named_everybody_may_come_and_counts_by_address() -> None:
    nobody = authenticator(acme=Tenant())
    assert not nobody.required
    assert await nobody.identify(shown(api_key="whatever")) == Identity(None, "10.0.0.1")


async def test_a_key_is_its_tenants_wherever_it_is_shown() -> None:
    mine, theirs = new_key(), new_key()
    known = authenticator(acme=Tenant(keys=(hash_of(mine),)), other=Tenant(keys=(hash_of(theirs),)))
    for proof in (
        shown(api_key=mine),
        shown(authorization=f"Bearer {mine}"),
        shown(authorization=f"bearer {mine}"),
    ):
        assert await known.identify(proof) == Identity("acme", "tenant:acme")
    assert (await known.identify(shown(api_key=theirs))).tenant == "other"


async def test_a_key_that_is_replaced_may_be_shown_beside_its_successor() -> None:
    old, new = new_key(), new_key()
    known = authenticator(acme=Tenant(keys=(hash_of(old), hash_of(new))))
    for key in (old, new):
        assert (await known.identify(shown(api_key=key))).tenant == "acme"


@pytest.mark.parametrize(
    "proofs",
    [
        {},
        {"api_key": ""},
        {"api_key": "rfk_wrong"},
        {"api_key": "x" * 10_000},
        {"authorization": "rfk_bare"},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer"},
        {"certificate": "somebody"},
    ],
)
async def test_what_is_no_key_of_ours_lets_nobody_in(proofs: Mapping[str, str]) -> None:
    known = authenticator(acme=Tenant(keys=(hash_of(new_key()),)))
    with pytest.raises(RefusalError) as refused:
        await known.identify(shown(**proofs))
    assert refused.value.status == 401


async def test_the_hash_is_no_key() -> None:
    hashed = hash_of(new_key())
    known = authenticator(acme=Tenant(keys=(hashed,)))
    with pytest.raises(RefusalError):
        await known.identify(shown(api_key=hashed))


def test_keys_are_long_and_differ() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert len(base64.urlsafe_b64decode(new_key().removeprefix("rfk_") + "=")) == 32


async def test_a_certificate_tells_the_tenant() -> None:
    known = authenticator(acme=Tenant(certificates=("acme-app",)))
    assert (await known.identify(shown(certificate="acme-app"))).tenant == "acme"


async def test_a_good_token_names_its_tenant(tokens: Tokens) -> None:
    known = authenticator(tokens)
    proof = shown(authorization=f"Bearer {token()}")
    assert await known.identify(proof) == Identity("acme", "tenant:acme")


async def test_keys_are_taken_beside_tokens(tokens: Tokens) -> None:
    key = new_key()
    known = authenticator(tokens, acme=Tenant(keys=(hash_of(key),)))
    assert (await known.identify(shown(authorization=f"Bearer {key}"))).tenant == "acme"
    assert (await known.identify(shown(authorization=f"Bearer {token()}"))).tenant == "acme"


@pytest.mark.parametrize(
    "bad",
    [
        {"key": STRANGER},
        {"name": "k2"},
        {"exp": datetime.now(UTC) - timedelta(minutes=5)},
        {"exp": None},
        {"nbf": datetime(2100, 1, 1, tzinfo=UTC)},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"tenant": None},
        {"tenant": 5},
        {"tenant": ""},
        {"tenant": "x" * 101},
        {"tenant": "a\nb"},
        {"algorithm": "RS384", "name": "k1"},
    ],
)
async def test_a_token_that_is_not_good_in_any_way_lets_nobody_in(
    tokens: Tokens, bad: dict[str, Any]
) -> None:
    with pytest.raises(RefusalError) as refused:
        await tokens.tenant_of(token(**bad))
    assert refused.value.status == 401


async def test_an_algorithm_of_the_tokens_own_choice_is_not_followed(tokens: Tokens) -> None:
    def part(value: Mapping[str, Any]) -> str:
        return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()

    claims = part({"iss": SETTINGS.issuer, "aud": SETTINGS.audience, "exp": 2**33, "tenant": "acme"})
    unsigned = f"{part({'alg': 'none', 'kid': 'k1'})}.{claims}."
    confused = f"{part({'alg': 'HS256', 'kid': 'k1'})}.{claims}.c2ln"
    for forged in (unsigned, confused, "no token", "a.b.c"):
        with pytest.raises(RefusalError) as refused:
            await tokens.tenant_of(forged)
        assert refused.value.status == 401


async def test_where_there_are_tenants_a_token_must_name_one_of_them(tokens: Tokens) -> None:
    known = authenticator(tokens, other=Tenant())
    with pytest.raises(RefusalError, match="no tenant of ours"):
        await known.identify(shown(authorization=f"Bearer {token()}"))


async def test_a_new_key_is_read_when_a_token_first_names_it_and_not_for_every_guess() -> None:
    keys, clock = Keys(public(RSA, "k1")), ManualClock()
    tokens = Tokens(SETTINGS, keys, clock)
    await tokens.start()
    young = ec.generate_private_key(ec.SECP256R1())
    keys.keys.append(public(young, "k2"))
    for _ in range(5):
        with pytest.raises(RefusalError):
            await tokens.tenant_of(token(young, "k2", "ES256"))
    assert keys.read == 1
    clock.advance(11)
    assert await tokens.tenant_of(token(young, "k2", "ES256")) == "acme"
    keys.keys = [public(young, "k2")]
    clock.advance(SETTINGS.refresh + 1)
    with pytest.raises(RefusalError):
        await tokens.tenant_of(token())


async def test_with_the_keys_away_those_from_before_are_used(tokens: Tokens, keys: Keys) -> None:
    keys.away = True
    clock = tokens._clock
    assert isinstance(clock, ManualClock)
    clock.advance(SETTINGS.refresh + 1)
    assert await tokens.tenant_of(token()) == "acme"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": "none"}'])
async def test_what_is_no_key_set_is_told_at_the_start(body: bytes) -> None:
    async def read() -> bytes:
        return body

    with pytest.raises(UsageError, match=r"gateway\.jwt\.jwks"):
        await Tokens(SETTINGS, read, ManualClock()).start()


async def test_a_key_set_is_read_from_a_file_beside_the_topology(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(b"here")
    assert await reader_of("keys.json", tmp_path)() == b"here"
    with pytest.raises(UsageError, match=r"none\.json"):
        await reader_of("none.json", tmp_path)()
    with pytest.raises(UnreachableError, match="can't be fetched"):
        await reader_of("https://127.0.0.1:1/keys", tmp_path)()
