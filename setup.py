"""What pyproject.toml can't say: the code of schemas/relayfleet.proto is made in every build, and kept in none.

`python setup.py proto` makes it alone.
"""

from importlib.resources import files
from typing import ClassVar

from grpc_tools import protoc
from setuptools import Command, setup
from setuptools.command.build_py import build_py

PROTO = "schemas/relayfleet.proto"


class Proto(Command):
    """Write relayfleet_pb2.py, its types and relayfleet_pb2_grpc.py beside the .proto."""

    description = "make the code of the .proto"
    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None:
        """See `Command`."""

    def finalize_options(self) -> None:
        """See `Command`."""

    def run(self) -> None:
        """See `Command`."""
        include = files("grpc_tools") / "_proto"
        status = protoc.main(
            ["protoc", "-I.", f"-I{include}", "--python_out=.", "--pyi_out=.", "--grpc_python_out=.", PROTO]
        )
        if status:
            raise SystemExit(f"protoc refused {PROTO}")


class BuildPy(build_py):
    """The ordinary build, with that code in it."""

    def run(self) -> None:
        """See `build_py`."""
        self.run_command("proto")
        super().run()


setup(cmdclass={"proto": Proto, "build_py": BuildPy})
