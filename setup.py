"""What pyproject.toml can't say: the code of schemas/relayfleet.proto is made in every build, and kept in none.

`python setup.py proto` makes it alone. `python setup.py compile` compiles the hot paths where they stand, with mypyc
and a C compiler; `python setup.py compile bdist_wheel` makes a wheel of them.
"""

from importlib.resources import files
from typing import ClassVar

from grpc_tools import protoc
from setuptools import Command, setup
from setuptools.command.build_py import build_py

PROTO = "schemas/relayfleet.proto"

# What a message passes through in a worker. Not what other classes inherit from: from a compiled one they can't. And
# nothing with coroutines: mypyc's leave an exception that they handle to whatever runs while they wait.
HOT = {
    "schemas": "headers",
    "schemas/codec": "jsontext models reader writer",
    "workers/backends": (
        "counts fill http_begun http_connection http_head http_pool instances openai_request openai_response"
    ),
    "workers/core": "clock events figures records",
    "workers/inference": (
        "alarm attempts delay delivery dispatch express flight gate instance intake marks message meters "
        "pool recorded settle steps tally throttle"
    ),
    "workers/kafka": "convert holding posts producer sizes",
    "workers/router": "ledger outcomes planner report",
    "workers/stores": "redis_operations",
    "workers/policies": (
        "balance breaker cost expiry fallback finished lanes offsets permits retry turns valve window"
    ),
}


class Step(Command):
    """A command without options."""

    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None:
        """See `Command`."""

    def finalize_options(self) -> None:
        """See `Command`."""


class Proto(Step):
    """Write relayfleet_pb2.py, its types and relayfleet_pb2_grpc.py beside the .proto."""

    description = "make the code of the .proto"

    def run(self) -> None:
        """See `Command`."""
        include = files("grpc_tools") / "_proto"
        status = protoc.main(
            ["protoc", "-I.", f"-I{include}", "--python_out=.", "--pyi_out=.", "--grpc_python_out=.", PROTO]
        )
        if status:
            raise SystemExit(f"protoc refused {PROTO}")


class Compile(Step):
    """Compile the hot paths in place, and into what is built after it."""

    description = "compile the hot paths with mypyc"

    def run(self) -> None:
        """See `Command`."""
        from mypyc.build import mypycify

        modules = [f"{folder}/{name}.py" for folder, names in HOT.items() for name in names.split()]
        self.distribution.ext_modules = mypycify(
            ["--ignore-missing-imports", *modules], opt_level="2", debug_level="0", multi_file=True
        )
        self.reinitialize_command("build_ext", inplace=True)
        self.run_command("build_ext")


class BuildPy(build_py):
    """The ordinary build, with that code in it."""

    def run(self) -> None:
        """See `build_py`."""
        self.run_command("proto")
        super().run()


setup(cmdclass={"proto": Proto, "compile": Compile, "build_py": BuildPy})
