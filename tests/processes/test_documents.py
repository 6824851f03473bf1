"""What docs/how-to/pools.md has on processes prints what it says; examples/progress.py shows how far it is."""

import pytest

from tests.support.interpreters import output_of, run_python
from tests.support.recipes import ROOT, read_page


def test_the_documents_program(tmp_path):
    page = read_page(ROOT / "docs" / "how-to" / "pools.md")
    (tmp_path / "in_processes.py").write_text(page.files["in_processes.py"])
    [expected] = [
        printed
        for commands in page.consoles.values()
        for command, printed in commands
        if command == "python in_processes.py"
    ]
    printed = output_of("-W", "error", "in_processes.py", cwd=tmp_path)
    assert printed.splitlines() == expected and len(expected) == 6


PROGRESS = ROOT / "examples" / "progress.py"

# What stands for the library: it notes how it is told of the progress.
TQDM = """
class tqdm:
    def __init__(self, total):
        self.total, self.seen = total, 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        print("tqdm:", self.seen, "of", self.total)

    def update(self, more=1):
        self.seen += more
"""
RICH = """
class Progress:
    def __enter__(self):
        return self

    def __exit__(self, *exception):
        print("rich:", self.completed, "of", self.total)

    def add_task(self, text, total):
        self.total = total
        return "the task"

    def update(self, task, completed):
        assert task == "the task"
        self.completed = completed
"""


@pytest.fixture(scope="module")
def primes():
    program = "import progress; print(sum(map(progress.primes_below, range(100, 2100, 100))))"
    return output_of("-c", program, cwd=PROGRESS.parent).strip()


@pytest.mark.parametrize("library", ("tqdm", "rich", None))
def test_progress_is_shown_by_the_library_that_is_there(tmp_path, primes, library):
    """The libraries need not be installed for the test, and those that are must not be found."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys; sys.modules.update(dict.fromkeys(%r))" % ["tqdm", "rich"]
    )
    if library == "tqdm":
        (tmp_path / "tqdm.py").write_text(TQDM)
        (tmp_path / "sitecustomize.py").unlink()
    elif library == "rich":
        (tmp_path / "rich").mkdir()
        (tmp_path / "rich" / "__init__.py").touch()
        (tmp_path / "rich" / "progress.py").write_text(RICH)
        (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['tqdm'] = None")
    done = run_python(PROGRESS, PYTHONPATH=f"{tmp_path}:{ROOT / 'python'}")
    assert done.returncode == 0, done.stderr
    said = [f"{library}: 20 of 20"] if library else []
    assert done.stdout.splitlines() == [*said, f"{primes} primes in all"]
    if library is None:
        # Each over the one before, by carriage returns.
        assert done.stderr.split("\n")[1:] == [*(f"{n} of 20" for n in range(1, 21)), ""]
