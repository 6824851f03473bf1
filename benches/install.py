"""`python -m benches install`: the requirements, and the peers that have a wheel, into this environment."""

import argparse
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def installer() -> list[str]:
    """pip of this interpreter, or uv where the environment has no pip."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
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
