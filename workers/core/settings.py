"""The environment, read here alone."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says about this process.

    `home` holds data, logs and pid files of the embedded parts. `environment` is what `${NAME}` in topology.yaml
    may refer to; it may hold secrets, so it is never printed. `listen` is the address that servers bind: loopback,
    unless a container's network is what keeps others out. `take_turns` is off where RELAYFLEET_TAKE_TURNS is 0:
    see `workers.core.scheduling`.
    """

    home: Path
    topology: Path
    ci: bool
    listen: str
    take_turns: bool
    openai_base_url: str | None
    openai_api_key: str | None = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read from `environment`, by default the process's own."""
        env = dict(os.environ) if environment is None else dict(environment)  # noqa: TID251 - the one place
        return cls(
            home=Path(env.get("RELAYFLEET_HOME") or ".relayfleet").absolute(),
            topology=Path(env.get("RELAYFLEET_TOPOLOGY") or "topology.yaml"),
            ci=env.get("CI", "").lower() in {"1", "true"},
            listen=env.get("RELAYFLEET_LISTEN") or "127.0.0.1",
            take_turns=env.get("RELAYFLEET_TAKE_TURNS", "").lower() not in {"0", "false", "no", "off"},
            openai_base_url=env.get("OPENAI_BASE_URL") or None,
            openai_api_key=env.get("OPENAI_API_KEY") or None,
            environment=env,
        )


def trust_the_machines_certificates() -> None:
    """Let `requests` trust what the machine trusts: it brings certificates of its own, and a company's are not there.

    What the user has set stays.
    """
    paths = ssl.get_default_verify_paths()
    bundle = paths.cafile or paths.capath
    if bundle is not None:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", bundle)  # noqa: TID251 - the one place
