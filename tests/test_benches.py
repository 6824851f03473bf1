"""The benchmarks' own arithmetic; a loop that is not what it claims, or works less, is found out."""

import sys

import pytest

from benches import processes, results, targets
from benches.case import Case, Group, Sample, Settings, load_all
from benches.lanes import LANES, LIMIT, Lane
from benches.results import Entry, human, verdict
from benches.runner import Runner


def entry(name="sleep0", **costs):
    made = Entry(name, "tasks", "title", "switch", "s", 3, list(costs))
    made.costs = {lane.replace("native", LIMIT): values for lane, values in costs.items()}
    return made


def test_every_case_has_a_target_and_every_target_a_case():
    assert set(load_all()) == set(targets.TARGETS)


def test_a_ratio_is_the_median_of_ratios_within_rounds():
    # The machine was half as fast in the second round and ten times as slow in the third, for both.
    made = entry(uvloop=[2.0, 4.0, 20.0], aioxide=[1.0, 2.0, 5.0])
    assert made.times("aioxide", "uvloop") == [2.0, 2.0, 4.0]
    assert made.ratio("aioxide") == 2.0
    assert made.ratio("uvloop", "aioxide") == 0.5


def test_the_best_peer_is_never_one_of_ours_nor_one_that_failed():
    made = entry(asyncio=[3.0], uvloop=[2.0], zuvloop=[0.5], rloop=[1.0], aioxide=[0.1], native=[0.1])
    made.failed["zuvloop"] = "hangs"
    assert made.best_peer() == "rloop"
    del made.costs["uvloop"]
    assert made.best_peer() == "rloop"


def test_at_least_and_at_most():
    fast = verdict(entry("sleep0", uvloop=[1.7], aioxide=[1.0]))
    assert (fast.other, fast.figure, fast.met) == ("uvloop", 1.7, True)
    assert not verdict(entry("sleep0", uvloop=[1.69], aioxide=[1.0])).met
    assert verdict(entry("echo_64_10", uvloop=[1.0], native=[1.0], aioxide=[1.15])).met
    assert not verdict(entry("echo_64_10", uvloop=[1.0], native=[1.0], aioxide=[1.16])).met
    assert verdict(entry("idle_task", asyncio=[100.0], aioxide=[95.0])).met
    assert not verdict(entry("idle_task", asyncio=[100.0], aioxide=[96.0])).met
    assert verdict(entry("idle_connection", aioxide=[1024.0])).met
    assert not verdict(entry("idle_connection", aioxide=[1025.0])).met
    nothing = verdict(entry("sleep0", uvloop=[1.0]))
    assert (nothing.figure, nothing.met, nothing.word()) == (None, False, "no figure")


def test_a_share_of_the_ideal():
    made = entry("process_efficiency", uvloop=[1.0, 1.0, 1.0], aioxide=[0.52, 0.5, 1.0])
    made.extra = {lane: [{"ideal": 0.5}] * 3 for lane in made.costs}
    assert verdict(made).figure == pytest.approx(0.5 / 0.52) and verdict(made).met
    made.costs["aioxide"] = [0.53, 0.53, 0.53]
    assert not verdict(made).met
    assert str(verdict(made).target) == "≥ 95% of the ideal"
    assert made.efficiency("rloop") is None


def test_costs_for_people():
    assert [human(cost, "s") for cost in (4.2e-9, 0.9996e-6, 1.5e-6, 2e-3)] == [
        "4.2 ns",
        "1 µs",
        "1.5 µs",
        "2 ms",
    ]
    assert human(2610.4, "B") == "2,610 B"


def test_a_cost_of_nothing_is_refused():
    with pytest.raises(processes.Failed, match="cost of 0"):
        Sample(0.0, {})


def test_a_saved_run_comes_back_and_a_later_part_replaces_only_its_cases(tmp_path):
    run = results.Results({"date": "then"})
    run.entries = {"sleep0": entry(uvloop=[1.0]), "wait": entry("wait", uvloop=[2.0])}
    run.save(tmp_path / "results.json")
    saved = results.Results.load(tmp_path / "results.json")
    assert saved.entries == run.entries and saved.meta == run.meta
    run.entries["no such case any more"] = entry("no such case any more", uvloop=[1.0])
    run.save(tmp_path / "results.json")
    assert list(results.Results.load(tmp_path / "results.json").entries) == ["sleep0", "wait"]
    later = results.Results({"date": "now"})
    later.entries = {"wait": entry("wait", uvloop=[3.0])}
    saved.update(later, ["wait", "sleep0"])
    assert list(saved.entries) == ["wait", "sleep0"]
    assert saved.entries["wait"].costs == {"uvloop": [3.0]} and saved.meta == {"date": "now"}


def run_one(case: Case, lanes: list[str]):
    runner = Runner(lanes, Settings(quick=True), results.Results())
    stage = runner.stage
    try:
        runner.run_case(case)
    finally:
        stage.clear()
    return runner, runner.results.entries[case.name]


@pytest.mark.parametrize("name", ["call_soon_chain", "future_ping_pong"])
def test_a_case_runs_on_the_loops_that_it_names(name):
    runner, made = run_one(load_all()[name], ["asyncio", "aioxide"])
    assert runner.problems == []
    assert set(made.costs) == {"asyncio", "aioxide"} and made.failed == {}


def test_a_case_of_pools_runs_on_lanes_of_its_own_only():
    cases = load_all()
    contenders = Runner(list(LANES), Settings(quick=True), results.Results()).contenders
    assert contenders(cases["process_call"]) == ["asyncio", "uvloop", "zuvloop", "loky", "aioxide"]
    assert "loky" not in contenders(cases["thread_gather"]) + contenders(cases["sleep0"])
    assert cases["process_call"].how["place"] is processes.on_all_cores


@pytest.mark.parametrize(
    "name", ["to_thread_no_spin", "thread_submit", "process_gather", "process_cold_start"]
)
def test_a_case_of_pools_runs(name):
    runner, made = run_one(load_all()[name], ["asyncio", "aioxide"])
    assert runner.problems == []
    assert set(made.costs) == {"asyncio", "aioxide"} and made.failed == {}
    assert all(sample["cpu"] > 0 for sample in made.extra["aioxide"])


def test_another_pool_than_claimed_is_a_problem(monkeypatch):
    # The worker, another process, still takes the standard library's for the lane of that name.
    monkeypatch.setitem(LANES, "asyncio", Lane("asyncio", "asyncio", pools="loky"))
    runner, made = run_one(load_all()["thread_submit"], ["asyncio"])
    assert made.costs == {}
    assert len(runner.problems) == 1 and "which is not a pool of loky" in runner.problems[0]


def test_a_fresh_process_has_served_no_other_case():
    stage = processes.Stage()
    try:
        first = stage.worker("asyncio", "executors")
        assert stage.worker("asyncio", "executors") is first
        assert stage.worker("asyncio", "executors", AIOXIDE_SPIN="0") is not first
        assert stage.worker("asyncio", "executors", fresh=True) is not first
        assert not first.alive()
    finally:
        stage.clear()


def test_another_loop_than_claimed_is_a_problem_even_for_a_peer(monkeypatch):
    # The worker, another process, still makes asyncio's loop for the lane of that name.
    monkeypatch.setitem(LANES, "asyncio", Lane("asyncio", "rloop"))
    monkeypatch.setattr("benches.runner.MUST_RUN", ())
    runner, made = run_one(load_all()["sleep0"], ["asyncio"])
    assert made.costs == {}
    assert len(runner.problems) == 1 and "which is not asyncio's" in runner.problems[0]


def test_less_work_than_asked_for_is_a_problem(monkeypatch):
    monkeypatch.setattr(processes.Worker, "request", lookalike)
    _, made = run_one(load_all()["sleep0"], ["asyncio"])
    assert made.failed == {"asyncio": "did 9999 operations instead of 10000"}


def lookalike(worker, message, timeout):
    """Answers as a worker that did one operation too few."""
    if "run" in message:
        return {"done": message["run"] - 1, "wall": 1.0, "cpu": 1.0}
    return {"loop": "asyncio.unix_events._UnixSelectorEventLoop", "namespace": "asyncio"}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import time; time.sleep(60)", "hangs"),
        ("import os; os.abort()", "crashed (SIGABRT)"),
        ("raise SystemExit('no such thing')", "exited with 1: no such thing"),
    ],
)
def test_a_process_that_does_not_answer_says_why(source, why):
    child = processes.Process([sys.executable, "-c", source])
    with pytest.raises(processes.Failed) as caught:
        child.receive(0.2 if why == "hangs" else 10)
    assert str(caught.value).startswith(why)
    child.kill()
    assert not child.alive()


def test_a_group_keeps_what_is_registered():
    group = Group("some")

    @group.coroutine("a title", n=10, operation="thing")
    async def a_case(aio, n):
        return n

    assert list(group.cases) == ["a_case"] and group.cases["a_case"].title == "a title"
