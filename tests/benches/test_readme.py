"""README's figures are those of the report."""

import sys
import types

import pytest

import benches
from benches import readme, report
from benches.lanes import LIMIT
from benches.registry import load_all
from benches.results import Results

META = dict.fromkeys(("processor", "kernel", "libc", "congestion", "python", "python_build"), "some")
META |= {"aioxide_build": "some", "clock": "wall", "date": "2026-01-02 03:04 UTC", "cores": 2}


@pytest.fixture
def run():
    """A run of all cases that README has, no two figures of it alike."""
    results = Results(META | {"versions": {}, "tools": {}, "missing": {}})
    cases = load_all()
    for place, name in enumerate([*readme.CASES, *readme.BESIDE, "echo@1024"], 1):
        costs = {"asyncio": 3e-5, "uvloop": 2e-5, "zuvloop": 1e-5, "aioxide": 1e-5 / (place + 0.25)}
        entry = results.begin(cases[name], [*costs, LIMIT], 1)
        entry.costs = {lane: [cost] for lane, cost in costs.items()}
        entry.extra = {
            lane: [{"wall": cost, "p99": 0.001 * place, "thread": 0.5}] for lane, cost in costs.items()
        }
    return results


@pytest.fixture
def undrawn(monkeypatch):
    """No matplotlib, which is no requirement of the tests: the pictures are empty files."""

    def draw(results, path):
        path.touch()
        return True

    stub = types.SimpleNamespace(draw=draw, draw_beside=draw)
    monkeypatch.setitem(sys.modules, "benches.plot", stub)
    monkeypatch.setattr(benches, "plot", stub, raising=False)


def test_the_figures_of_readme_are_those_of_the_report():
    pages = [readme.README.read_text(), readme.REPORT.read_text()]
    ours, theirs = map(readme.block, pages)
    assert readme.for_report(ours) == theirs


def test_both_pages_get_the_same_block_from_one_run(run, undrawn, tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.enclosed('old figures')}\nafter\n")
    monkeypatch.setattr(report, "README", page)
    monkeypatch.setattr(report, "DOCS", tmp_path / "docs")
    report.write(run, tmp_path / "docs")
    written = page.read_text()
    assert written.startswith("before\n") and written.endswith("\nafter\n") and "old figures" not in written
    other = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert readme.for_report(readme.block(written)) == readme.block(other)
    assert (
        "](docs/benchmarks.md#both" in written
        and "](#both" in other
        and "\n## Both states of malloc" in other
    )
    # The figure of the block is that of the report's own table, and that of the run.
    assert "| call_soon chain: 1 chains side by side | 0.67 | zuvloop 2.00 | **2.50** |" in written
    assert "| call_soon chain: 1 chains side by side | 0.67 | 1.00 | *2.00* | **2.50** |" in other
    assert "(fresh process)" not in readme.block(written)
    assert "| protocol, two cores: 10 connections | 33,333 (15 ms) | 50,000 (15 ms) |" in written
    assert "docs/beside.png" in written and (tmp_path / "docs" / "beside.png").exists()


def test_a_report_that_goes_elsewhere_leaves_readme_alone(run, undrawn, tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    page.write_text(readme.enclosed("old figures"))
    monkeypatch.setattr(report, "README", page)
    report.write(run, tmp_path / "elsewhere")
    assert readme.block(page.read_text()) == "old figures"


def test_every_case_of_readme_exists_and_says_nothing_of_a_fresh_process():
    cases = load_all()
    chosen = [cases[name] for name in readme.CASES]
    assert [case.name for case in chosen if case.fresh] == []
    assert [cases[name].group for name in readme.BESIDE] == ["beside"] * len(readme.BESIDE)


def test_a_page_without_the_marks_is_refused(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("no marks\n")
    with pytest.raises(ValueError, match="there is no block"):
        readme.update(page, "figures")
    assert page.read_text() == "no marks\n"
