"""From files on disk to a serving broker: configured, formatted once, launched, awaited."""

import base64
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.core.deadlines import Deadline
from workers.core.errors import UnreachableError
from workers.local import broker_process
from workers.local.broker_config import BrokerConfig, BrokerFiles, render_properties

_STARTED = "Kafka Server started"
_PORT_TAKEN = "Address already in use"
_LOOK_EVERY = 0.05  # seconds
_SHOWN_LINES = 15
_SHOWN_BYTES = 8192
# Kafka gets no more of the environment than Java needs: it may hold secrets.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "JAVA_TOOL_OPTIONS")


class PortTakenError(UnreachableError):
    """Somebody else took one of the ports between choosing and listening."""


class Launcher:
    """Starts the broker of `files` with one Java and one set of jars."""

    def __init__(
        self, files: BrokerFiles, java: Path, classpath: Sequence[Path], environment: Mapping[str, str]
    ) -> None:
        self._files = files
        self._java = java
        self._classpath = ":".join(str(jar) for jar in classpath)
        self._environment = {name: environment[name] for name in _ENVIRONMENT if name in environment}

    def launch(self, config: BrokerConfig) -> int:
        """Write the configuration, format the data directory if it is new, start the process; returns its pid."""
        self._files.logs.mkdir(parents=True, exist_ok=True)
        self._files.properties.write_text(render_properties(config.properties()), "ascii")
        if self._files.cluster_id() is None:
            self._format(config)
        command = [*self._command(config), broker_process.MAIN, str(self._files.properties)]
        return broker_process.launch(command, self._files.console, self._environment)

    def await_started(self, pid: int, deadline: Deadline) -> None:
        """Wait until the broker says that it serves. Raises `UnreachableError` with its last words if it does not."""
        while _STARTED not in self._files.console.read_text(errors="replace"):
            # By pid alone: right after the launch the kernel may not show the command line yet.
            if broker_process.ended(pid):
                raise self._failure("the embedded Kafka ended while starting")
            if deadline.expired:
                raise self._failure("the embedded Kafka did not start in time")
            time.sleep(_LOOK_EVERY)

    def _format(self, config: BrokerConfig) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        arguments = [
            "format",
            "--ignore-formatted",
            f"--cluster-id={cluster}",
            "-c",
            str(self._files.properties),
        ]
        done = subprocess.run(  # noqa: S603 - Java and arguments are ours
            [*self._command(config), "kafka.tools.StorageTool", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            env=self._environment,
            check=False,
        )
        if done.returncode != 0:
            said = _last_lines(done.stdout + done.stderr)
            raise UnreachableError(f"the embedded Kafka can't format {self._files.data}:\n{said}")

    def _command(self, config: BrokerConfig) -> list[str]:
        return [str(self._java), *config.java_options(), "-cp", self._classpath]

    def _failure(self, what: str) -> UnreachableError:
        said = _last_lines(_tail(self._files.console) + _tail(self._files.server_log))
        kind = PortTakenError if _PORT_TAKEN in said else UnreachableError
        return kind(f"{what}; the last lines of {self._files.server_log}:\n{said}")


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _SHOWN_BYTES))
            return stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _last_lines(text: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith("\tat ")]
    return "\n".join(lines[-_SHOWN_LINES:])
