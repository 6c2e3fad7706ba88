"""What every command imports, before it is known which one is asked for."""

import subprocess
import sys

LATER = ("numpy", "duckdb", "faust", "grpc", "redis", "sqlalchemy", "uvicorn")
LOOK = "import sys, workers.cli; print(*(set(sys.argv[1:]) & set(sys.modules)))"


def test_no_command_pays_for_what_only_others_need() -> None:
    run = subprocess.run([sys.executable, "-c", LOOK, *LATER], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
