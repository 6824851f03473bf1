"""Folders of the machine that built something, in what it built."""

import os
import re
from pathlib import Path

from .project import ROOT


def folders() -> list[str]:
    """What no file of a release may name."""
    cargo = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    # The root folder is the beginning of every path, and the home folder of some accounts.
    named = {str(path) for path in (Path.home(), ROOT, cargo) if path != Path("/")}
    return sorted({*named, ".cargo/registry"})


def found_in(data: bytes) -> list[str]:
    """The paths in `data` that name such a folder, as far as they are text."""
    pattern = b"|".join(re.escape(folder.encode()) for folder in folders())
    hits = re.findall(rb"[\x21-\x7e]{0,80}(?:" + pattern + rb")(?![\w-])[\x21-\x7e]{0,80}", data)
    return sorted({hit.decode() for hit in hits})
