"""The bare interpreter as a lane: a loop in C that does next to nothing, built from native/floor.c."""

import functools
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "benches" / "native" / "floor.c"


def built() -> Path:
    """The extension for this Python, compiled when it is older than its source. Raises `CalledProcessError` when the
    compiler refuses.
    """
    target = ROOT / "target" / "benchnet" / f"floor{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not target.exists() or target.stat().st_mtime < SOURCE.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside it first: another process may have the old one loaded.
        half = target.with_suffix(f".{os.getpid()}")
        include = Path(sysconfig.get_path("include"))
        # Debian's Python.h wants the folder above it too, which the compiler knows only where that is /usr/include.
        folders = [f"-I{include}", f"-I{include.parent}"]
        command = ["cc", "-O2", "-shared", "-fPIC", "-Wall", *folders, "-o", str(half), str(SOURCE)]
        subprocess.run(command, check=True)
        half.rename(target)
    return target


@functools.cache
def _module():
    loader = importlib.machinery.ExtensionFileLoader("floor", str(built()))
    spec = importlib.util.spec_from_file_location("floor", loader.path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def new_event_loop():
    return _module().Loop()


if __name__ == "__main__":
    print(built(), file=sys.stderr)
