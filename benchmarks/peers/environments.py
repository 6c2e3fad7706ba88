"""An environment of its own for each peer, made from its locked requirements by uv, and kept for the next time."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from workers.core.settings import Settings

_HERE = Path(__file__).parent


class NotInstalledError(Exception):
    """A peer can't be installed here; says why."""


def python_of(peer: str, settings: Settings) -> Path:
    """The interpreter of a peer's environment, which is made where it is missing. Raises `NotInstalledError`."""
    requirements = _HERE / f"requirements-{peer}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    home = settings.home / "bench" / "peers" / f"{peer}-{digest}"
    python = home / "bin" / "python"
    done = home / "installed"
    if not done.exists():
        uv = _uv()
        _run(peer, settings, uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home))
        options = ("--quiet", "--require-hashes", "--python", str(python))
        _run(peer, settings, uv, "pip", "install", *options, "-r", str(requirements))
        done.touch()
    return python


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise NotInstalledError("uv is missing: `pip install uv`")
    return found


def _run(peer: str, settings: Settings, *command: str) -> None:
    environment = {"UV_SYSTEM_CERTS": "true", **settings.environment}
    if "PIP_INDEX_URL" in environment:  # uv does not read pip's settings
        environment.setdefault("UV_INDEX_URL", environment["PIP_INDEX_URL"])
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotInstalledError(f"{peer} could not be installed: {reason}")
