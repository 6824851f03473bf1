"""mypy and pyright, run over a folder of programs; and what the programs say that they find."""

import json
import re
import shutil
import sys
from pathlib import Path

from tests.support.interpreters import PACKAGE_PARENT, run_python

HERE = Path(__file__).parent
CHECKERS = ["mypy", "pyright"]
# The oldest and the newest Python that they know.
VERSIONS = ["3.11", "3.14"]

EXPECTED = re.compile(r"# mypy: (?P<mypy>[\w-]+(?:, [\w-]+)*); pyright: (?P<pyright>\w+(?:, \w+)*)$")


def findings(checker, folder, scratch, version=VERSIONS[-1], mode="strict"):
    """What a checker finds in the programs of a folder: {program: {(line, kind), ...}}.

    Args:
        checker: its name.
        folder: where the programs are.
        scratch: a folder for its settings and caches.
        version: of the Python that is to run them.
        mode: pyright's; "strict" tells of each type that it does not know, also where that follows from another error.
    """
    found = {path.name: set() for path in Path(folder).glob("*.py")}
    assert found, f"no programs in {folder}"
    for path, line, kind, text in {"mypy": _mypy, "pyright": _pyright}[checker](
        folder, scratch, version, mode
    ):
        assert Path(path).name in found, f"{checker}: {path}:{line}: {text}"
        found[Path(path).name].add((line, kind))
        print(f"{checker}: {Path(path).name}:{line}: {text} [{kind}]")
    return found


def _mypy(folder, scratch, version, _mode):
    options = [
        "--strict",
        "--config-file=",
        "--output=json",
        f"--cache-dir={scratch}",
        f"--python-version={version}",
    ]
    # Errors in our own sources are for `make lint` to find.
    options.append("--follow-imports=silent")
    programs = sorted(Path(folder).glob("*.py"))
    done = run_python("-m", "mypy", *options, *programs, cwd=scratch, timeout=110, MYPYPATH=PACKAGE_PARENT)
    assert done.returncode in (0, 1) and not done.stderr, done.stderr or done.stdout
    for row in (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")):
        if row["severity"] == "error":
            yield row["file"], row["line"], row["code"], row["message"]


def _pyright(folder, scratch, version, mode):
    settings = {"extraPaths": [PACKAGE_PARENT], "pythonVersion": version, "typeCheckingMode": mode}
    # It reads what is below its settings, and nothing else.
    project = shutil.copytree(folder, Path(scratch) / "pyright")
    (project / "pyrightconfig.json").write_text(json.dumps(settings))
    options = ["--outputjson", "--project", project, "--pythonpath", sys.executable]
    done = run_python("-m", "pyright", *options, cwd=scratch, timeout=110)
    assert done.returncode in (0, 1), done.stderr or done.stdout
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] == len(list(Path(folder).glob("*.py"))), done.stdout
    for row in told["generalDiagnostics"]:
        yield row["file"], row["range"]["start"]["line"] + 1, row.get("rule", "syntax"), row["message"]


def expected(checker, folder):
    """What the comments in the programs of a folder say that a checker finds, as `findings` gives it."""
    wanted = {}
    for path in Path(folder).glob("*.py"):
        rows = [EXPECTED.search(line) for line in path.read_text().splitlines()]
        wanted[path.name] = {
            (number, kind) for number, row in enumerate(rows, 1) if row for kind in row[checker].split(", ")
        }
    return wanted
