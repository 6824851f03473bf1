"""uvloop's test helpers, read from its source distribution (``AIOXIDE_UVLOOP_SDIST``)."""

import os
from pathlib import Path

_source = Path(os.environ["AIOXIDE_UVLOOP_SDIST"]) / "uvloop" / "_testbase.py"
exec(compile(_source.read_text(), str(_source), "exec"))
