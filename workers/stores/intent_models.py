"""Learnt intents in files of plain numbers: nothing in them can run, whoever wrote them."""

import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

log = structlog.get_logger()

Arrays = Mapping[str, NDArray[Any]]


def read_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of a file; None where there is none, or none that can be read."""
    try:
        # Opened here: numpy leaves a file open that it finds to be none of its own.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        log.warning("learnt_model_unreadable", path=str(path), error=str(error), so="it is learnt again")
        return None


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write the file whole or not at all. A folder that can't be written to costs the next start its second, no more."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(descriptor, "wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        Path(temporary).replace(path)
    except OSError as error:
        log.warning("learnt_model_not_kept", path=str(path), error=error.strerror)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
