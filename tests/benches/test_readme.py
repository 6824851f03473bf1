"""The figures of both READMEs are those of the report."""

import re
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
    """A run of all cases of the first page and the summary, no two figures of it alike."""
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

    stub = types.SimpleNamespace(draw=draw, draw_beside=draw, draw_figures=draw)
    monkeypatch.setitem(sys.modules, "benches.plot", stub)
    monkeypatch.setattr(benches, "plot", stub, raising=False)


FIGURE = re.compile(r"\d+\.\d\d(?= times|\*\*| 倍)")


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Both READMEs, with an older run's figures, and the report's folder, as a run with `--write` has them."""
    pages = {tmp_path / page.name: words for page, words in report.READMES.items()}
    for page in pages:
        page.write_text(f"before\n{readme.enclosed('old figures')}\nafter\n")
    monkeypatch.setattr(report, "READMES", pages)
    monkeypatch.setattr(report, "DOCS", tmp_path / "docs")
    return list(pages)


def test_the_figures_of_readme_are_those_of_the_report():
    english, chinese, theirs = (
        readme.block(page.read_text()) for page in (readme.README, readme.CHINESE, readme.REPORT)
    )
    assert readme.for_report(english) == theirs
    assert FIGURE.findall(chinese) == FIGURE.findall(english) != []


def test_all_pages_get_their_block_from_one_run(run, undrawn, pages):
    report.write(run, report.DOCS)
    english, chinese = (page.read_text() for page in pages)
    for written in (english, chinese):
        assert (
            written.startswith("before\n") and written.endswith("\nafter\n") and "old figures" not in written
        )
        assert "](docs/project/benchmarks.md)" in written and "](docs/project/figures.png)" in written
    other = (report.DOCS / "benchmarks.md").read_text()
    assert readme.for_report(readme.block(english)) == readme.block(other)
    assert "](figures.png)" in other and "](#targets)" in other and "\n## Targets" in other
    assert FIGURE.findall(chinese) == FIGURE.findall(english)
    # The figure of the block is that of the report's own tables, and that of the run.
    place = list(readme.CASES).index("create_task@1") + 1
    [expected, _] = FIGURE.findall(readme.block(english))
    assert float(expected) == pytest.approx(2 * (place + 0.25), abs=0.005)
    assert f"| create tasks and await them: 1 at a time | 0.67 | zuvloop 2.00 | **{expected}** |" in other
    assert f"| create tasks and await them: 1 at a time | 0.67 | 1.00 | *2.00* | **{expected}** |" in other


def test_the_long_tables_are_the_reports_alone(run, undrawn, pages):
    report.write(run, report.DOCS)
    assert len(readme.block(pages[0].read_text()).splitlines()) < 10
    other = (report.DOCS / "benchmarks.md").read_text()
    summary = other.partition("## In short")[2].partition("\n## ")[0]
    assert "](#both" in summary and "\n## Both states of malloc" in other
    assert "(fresh process)" not in summary
    assert "| protocol, two cores: 10 connections | 33,333 (15 ms) | 50,000 (15 ms) |" in summary
    assert "](beside.png)" in summary and (report.DOCS / "beside.png").exists()
    assert (report.DOCS / readme.CHART).exists()


def test_a_report_that_goes_elsewhere_leaves_readme_alone(run, undrawn, pages, tmp_path):
    report.write(run, tmp_path / "elsewhere")
    assert [readme.block(page.read_text()) for page in pages] == ["old figures"] * 2


def test_a_run_without_the_two_cases_has_no_block(run):
    for name in ("create_task@1", "uvicorn@50"):
        del run.entries[name]
    assert readme.figures(run) == readme.figures(run, readme.CHINESE_WORDS) == ""
    assert [entry.name for _, entry in readme.charted(run)] == [
        name for name in readme.CASES if name not in ("create_task@1", "uvicorn@50")
    ]


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
