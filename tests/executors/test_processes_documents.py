"""The program of docs/executors.md on processes prints what the page says."""

from tests.integration.recipes import ROOT, read_page
from tests.package.support import output_of


def test_the_documents_program(tmp_path):
    page = read_page(ROOT / "docs" / "executors.md")
    (tmp_path / "in_processes.py").write_text(page.files["in_processes.py"])
    [expected] = [
        printed
        for commands in page.consoles.values()
        for command, printed in commands
        if command == "python in_processes.py"
    ]
    printed = output_of("-W", "error", "in_processes.py", cwd=tmp_path)
    assert printed.splitlines() == expected and len(expected) == 6
