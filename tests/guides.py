"""Guides as tests see them."""

import re
from pathlib import Path


def blocks(guide: Path, language: str) -> list[str]:
    """The code blocks of this language, in their order, also those inside of lists."""
    return re.findall(rf"```{language}\n(.*?)\n *```", guide.read_text(encoding="utf-8"), re.DOTALL)
