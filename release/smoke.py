"""Installs a wheel into an environment with nothing else in it, and has it do a little of everything there.

usage: PYTHON release/smoke.py WHEEL                      by this interpreter
       PYTHON release/smoke.py WHEEL --foreign PROGRAM    by PROGRAM, a CPython for another machine, for which the pip
                                                          of PYTHON installs, into a folder (scripts/foreign-python)
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import asyncio, importlib.metadata, multiprocessing, platform, sys
import aioxide

def square(number):
    return number * number

async def answer(reader, writer):
    writer.write(await reader.readline())
    writer.close()

async def main():
    loop = asyncio.get_running_loop()
    assert type(loop) is aioxide.EventLoop and type(asyncio.current_task()) is aioxide.Task
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"echo\\n")
    assert await reader.readline() == b"echo\\n"
    writer.close()
    server.close()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.to_thread(square, n)) for n in range(5)]
    assert [task.result() for task in tasks] == [0, 1, 4, 9, 16]
    with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert await loop.run_in_executor(pool, square, 7) == 49

if __name__ == "__main__":
    assert aioxide.__file__.startswith(sys.argv[1]), aioxide.__file__
    aioxide.run(main())
    files = {path.name for path in importlib.metadata.files("aioxide")}
    assert {"LICENSE-MIT", "LICENSE-APACHE", "LICENSE-THIRD-PARTY", "py.typed"} <= files, files
    print("aioxide", aioxide.__version__, "works on", sys.version.split()[0], "for", platform.machine())
"""


def clean_environment() -> dict[str, str]:
    """Without what would let the wheel's interpreter find another aioxide."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "PIP_"))}


def install(wheel: Path, folder: Path) -> Path:
    """Make an environment and install the wheel, by what this Python has for it: its interpreter."""
    python = folder / "bin" / "python"
    base = getattr(sys, "_base_executable", sys.executable)
    by_venv = [
        [base, "-m", "venv", str(folder)],
        [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--disable-pip-version-check",
            str(wheel),
        ],
    ]
    by_uv = [
        ["uv", "venv", "--quiet", "--clear", "--python", base, str(folder)],
        ["uv", "pip", "install", "--quiet", "--offline", "--no-index", "--python", str(python), str(wheel)],
    ]
    why = ""
    for commands in (by_venv, by_uv):
        for command in commands:
            try:
                done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
            except FileNotFoundError as error:
                why += f"\n{error}"
                break
            if done.returncode != 0:
                why += f"\n{' '.join(command)}: {done.stdout}{done.stderr}"
                break
        else:
            return python
    raise SystemExit(f"aioxide: {wheel.name} could not be installed: {why}")


def install_foreign(wheel: Path, python: Path, folder: Path) -> None:
    """Install a wheel into a folder for a foreign CPython: pip looks whether it is for its machine and version."""
    asked = "import platform, sys; print(platform.machine(), '%d%d' % sys.version_info[:2])"
    machine, version = subprocess.check_output([python, "-c", asked], text=True).split()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--abi", f"cp{version}"]
    command += ["--python-version", version, "--platform", f"manylinux_2_28_{machine}"]
    command += ["--target", str(folder), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"aioxide: {wheel.name} could not be installed: {done.stdout}{done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--foreign", type=Path)
    arguments = parser.parse_args()
    wheel = arguments.wheel.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = clean_environment()
        home = folder / "environment"
        if arguments.foreign:
            python, home = arguments.foreign.resolve(), folder / "site"
            install_foreign(wheel, python, home)
            environment["PYTHONPATH"] = str(home)
        else:
            python = install(wheel, home)
        program = folder / "program.py"
        program.write_text(PROGRAM)
        done = subprocess.run([python, program, home], cwd=folder, env=environment, timeout=300)
    if done.returncode != 0:
        raise SystemExit(f"aioxide: {wheel.name} does not work where only it is installed")


if __name__ == "__main__":
    main()
