"""Reads the blocks of a Markdown page, and does what they say.

A python block whose first line is `# some/name.py` is that file; any other is a program. In a console block,
lines that start with `$ ` are commands, and what follows one is what it prints. A command before a `curl` is
a server.
"""

import importlib.util
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.interpreters import environment

ROOT = Path(__file__).parents[2]
PORT = "8000"  # as the pages have it; each test takes a free one
PATIENCE = 40  # seconds for a server to come up or go down; usually it is well under one

# A name in a recipe, and the package whose absence makes it impossible.
PACKAGES = {
    "aiohttp": "aiohttp",
    "anyio": "anyio",
    "gunicorn": "gunicorn",
    "hypercorn": "hypercorn",
    "pytest_asyncio": "pytest_asyncio",
    "jupyter": "ipykernel",
    "replace-uvloop": "uvloop",
    "uvicorn": "uvicorn",
    "UvicornWorker": "uvicorn_worker",
}


@dataclass
class Page:
    """A Markdown page's files, programs, and console blocks as lists of (command, lines that it prints)."""

    files: dict[str, str] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=dict)
    consoles: dict[str, list[tuple[str, list[str]]]] = field(default_factory=dict)
    blocks: int = 0


def read_page(path):
    """The `Page` of a file; each program and console block goes by its heading and number."""
    page = Page()
    text = path.read_text(encoding="utf-8")
    heading = ""
    for found in re.finditer(r"^#+ ([^\n]*)$|^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        title, language, body = found.groups()
        if title:
            heading = title
            continue
        page.blocks += 1
        file = re.match(r"# (\S+\.py)\n", body)
        if language == "python" and file:
            page.files[file[1]] = body
        elif language == "python":
            page.programs[f"{heading} {page.blocks}"] = body
        elif language == "console":
            page.consoles[f"{heading} {page.blocks}"] = _commands(body)
        else:
            raise ValueError(f"{path.name}: a block of {language or 'no language'} can't be run: {body}")
    return page


def _commands(body):
    commands = []
    for line in body.splitlines():
        if line.startswith("$ "):
            commands.append((line.removeprefix("$ "), []))
        else:
            commands[-1][1].append(line)
    return commands


# Those that tests/integration/requirements.txt names for some Pythons only.
ON_SOME_PYTHONS = {"ipykernel": sys.version_info[:2] == (3, 14), "uvloop": sys.version_info < (3, 15)}


def missing_package(*texts):
    """The first package that the texts need and this environment lacks, if any."""
    text = "\n".join(texts)
    for name, package in PACKAGES.items():
        if re.search(rf"\b{name}\b", text) and importlib.util.find_spec(package) is None:
            return package
    return None


def write_files(page, folder, port):
    """Put the page's files into a folder, with a port of our own."""
    for name, source in page.files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source.replace(PORT, str(port)), encoding="utf-8")


def free_port():
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def start(command, folder, port):
    """Start a command of a console block in a folder, as the leader of a process group."""
    words = [word.replace(PORT, str(port)) for word in shlex.split(command)]
    program, *arguments = words
    module = [] if program == "python" else ["-m", program]
    variables = {name: value for name, value in environment().items() if not name.startswith("PYTEST")}
    return subprocess.Popen(
        [sys.executable, *module, *arguments],
        cwd=folder,
        # JUPYTER_...: what is to be installed "for the user" stays in the folder.
        env={
            **variables,
            "PYTHONDONTWRITEBYTECODE": "1",
            "JUPYTER_DATA_DIR": str(folder),
            "IPYTHONDIR": str(folder),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_to_its_end(command, folder, port):
    """What a command prints; it has to succeed."""
    process = start(command, folder, port)
    try:
        printed, _ = process.communicate(timeout=PATIENCE)
    finally:
        _end_group(process)
    assert process.returncode == 0, printed
    return printed


def serve_and_fetch(command, url, folder, port, said=None):
    """What a server answers. It has to end well by SIGTERM; the lines that it prints go into the list `said`."""
    process = start(command, folder, port)
    try:
        try:
            answer = _fetch(url.replace(PORT, str(port)), process)
        finally:
            process.send_signal(signal.SIGTERM)
            printed, _ = process.communicate(timeout=PATIENCE)
    finally:
        _end_group(process)
    # uvicorn raises the signal once more after its shutdown.
    assert process.returncode in (0, -signal.SIGTERM), printed
    assert "Traceback" not in printed, printed
    if said is not None:
        said += printed.splitlines()
    return answer


def _fetch(url, process):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as response:
                return response.read().decode()
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, f"the server ended: {process.communicate()[0]}"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.02)


def _end_group(process):
    """Leave nothing behind: workers whose parent was killed, above all."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
