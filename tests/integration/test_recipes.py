"""Every block of both READMEs, and of what docs/ has on how to run a program, does what the page says."""

import re
import shlex
import subprocess
import tomllib

import pytest

from tests.support import recipes
from tests.support.interpreters import finish, start_python

SERVERS = "docs/how-to/web-servers.md"
PAGES = {
    name: recipes.read_page(recipes.ROOT / name)
    for name in (
        "README.md",
        "README.zh-CN.md",
        "docs/start/first-steps.md",
        "docs/how-to/programs.md",
        SERVERS,
        "docs/how-to/tests.md",
        "docs/how-to/notebooks.md",
    )
}
# The applications that servers are started with stand on one page.
for page in PAGES.values():
    page.files = PAGES[SERVERS].files | page.files
# What may stand behind `pip install`.
PROJECT = tomllib.loads((recipes.ROOT / "pyproject.toml").read_text())["project"]
INSTALLED = {PROJECT["name"]} | {f"{PROJECT['name']}[{extra}]" for extra in PROJECT["optional-dependencies"]}


def blocks(kind):
    return [
        pytest.param(page, block, id=f"{name} {title}")
        for name, page in PAGES.items()
        for title, block in getattr(page, kind).items()
    ]


def skip_without_packages(page, *texts):
    # A command needs what its files need.
    named = [source for name, source in page.files.items() if any(_names(name, text) for text in texts)]
    missing = recipes.missing_package(*texts, *named)
    if not recipes.ON_SOME_PYTHONS.get(missing, True):
        pytest.skip(f"by version: {missing} is tried on another Python (tests/integration/requirements.txt)")
    if missing:
        pytest.skip(f"{missing} is not installed (tests/integration/requirements.txt)")


def _names(file, text):
    return (
        re.search(rf"\b{re.escape(file.removesuffix('.py'))}\b", text) or file.split("/")[0] in text.split()
    )


def test_every_block_of_the_pages_is_run():
    for name, page in PAGES.items():
        text = (recipes.ROOT / name).read_text(encoding="utf-8")
        files = re.findall(r"^```python\n# \S+\.py$", text, re.MULTILINE)
        assert page.blocks == len(re.findall(r"^```", text, re.MULTILINE)) / 2 > 0
        assert page.blocks == len(files) + len(page.programs) + len(page.consoles)


def test_both_readmes_have_the_same_code_and_links():
    english, chinese = (
        (recipes.ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")
    )
    code = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
    assert code.findall(chinese) == code.findall(english)
    links = re.compile(r"\]\(((?:docs|LICENSE|ARCH|CONTR|CHANGE|https)[^)]*)\)")
    assert sorted(links.findall(chinese)) == sorted(links.findall(english))
    for what in (r"^## ", r"^\| ", r"^- "):
        assert len(re.findall(what, chinese, re.MULTILINE)) == len(re.findall(what, english, re.MULTILINE))


@pytest.mark.parametrize(("page", "source"), blocks("programs"))
def test_program(tmp_path, page, source):
    skip_without_packages(page, source)
    (tmp_path / "program.py").write_text(source, encoding="utf-8")
    done = finish(start_python("-W", "error", "program.py", cwd=tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("page", "commands"), blocks("consoles"))
def test_console(tmp_path, page, commands):
    skip_without_packages(page, *(command for command, _ in commands))
    port = recipes.free_port()
    recipes.write_files(page, tmp_path, port)
    if commands[-1][0].startswith("curl "):
        (server, _), (curl, expected) = commands
        answer = recipes.serve_and_fetch(server, curl.split()[1], tmp_path, port)
        assert answer.splitlines() == expected
        return
    for command, expected in commands:
        if command.startswith("pip install "):
            # Where it would come from is no matter of a page's.
            assert set(shlex.split(command)[2:]) <= INSTALLED
            continue
        if command.startswith("make "):
            # What it would do; doing it here would be this very test run.
            subprocess.run(
                ["make", "--dry-run", *command.split()[1:]], cwd=recipes.ROOT, check=True, capture_output=True
            )
            continue
        printed = recipes.run_to_its_end(command, tmp_path, port)
        lines = iter(printed.splitlines())
        # Lines may have more at their end (pytest adds how long it took), and others between them.
        assert all(any(line.startswith(start) for line in lines) for start in expected), printed


@pytest.mark.parametrize(
    "command",
    [
        "uvicorn asgi:app --port 8000 --loop asyncio",
        "gunicorn asgi:app --bind 127.0.0.1:8000 --worker-class asgi --asgi-loop asyncio",
        "python -m aiohttp.web -H 127.0.0.1 -P 8000 web_app:init",
    ],
)
def test_without_us_they_say_asyncio(tmp_path, command):
    # That the servers above answered "aioxide" means something.
    page = PAGES[SERVERS]
    skip_without_packages(page, command)
    port = recipes.free_port()
    recipes.write_files(page, tmp_path, port)
    assert recipes.serve_and_fetch(command, f"http://127.0.0.1:{recipes.PORT}/", tmp_path, port) == "asyncio"


def test_a_server_that_takes_uvloop_says_so(tmp_path):
    """The same command with --replace-uvloop, on the page, answers "aioxide"."""
    page, said = PAGES[SERVERS], []
    command = "python -m aioxide -m uvicorn asgi:app --port 8000"
    skip_without_packages(page, command, "replace-uvloop")
    port = recipes.free_port()
    recipes.write_files(page, tmp_path, port)
    answer = recipes.serve_and_fetch(command, f"http://127.0.0.1:{recipes.PORT}/", tmp_path, port, said)
    assert answer == "uvloop"
    [line] = [line for line in said if "Warning" in line]
    assert "RuntimeWarning: a uvloop.Loop runs in process " in line and "--replace-uvloop" in line
