"""`python -m benches install`: the requirements, and the peers that have a wheel, into this environment."""

import argparse
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def installer() -> list[str]:
    """uv, which is much quicker, where it is there and runs; else pip of this interpreter."""
    uv = shutil.which("uv")
    if uv and subprocess.run([uv, "--version"], capture_output=True).returncode == 0:
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    raise SystemExit("benches: this environment has no pip, and there is no uv")


def main(arguments: list[str]) -> int:
    argparse.ArgumentParser(prog="python -m benches install", description=__doc__).parse_args(arguments)
    command = [*installer(), "--only-binary", ":all:"]
    subprocess.run([*command, "--requirement", str(HERE / "requirements.txt")], check=True)
    for line in (HERE / "peers.txt").read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        # One at a time: a peer without a wheel for this Python and libc must not take the others with it.
        done = subprocess.run([*command, line], capture_output=True, text=True)
        print(
            f"{line}: "
            + ("installed" if not done.returncode else "no wheel for this Python and libc: left out")
        )
    return 0
