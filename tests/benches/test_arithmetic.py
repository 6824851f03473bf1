"""The benchmarks' own arithmetic; a loop that is not what it claims, or works less, is found out."""

import sys

import pytest

from benches import processes, report, results, tables, targets, training
from benches.case import Case, InLoop, Sample, Settings, window_sample
from benches.lanes import BEFORE, FLOOR, LANES, LIMIT, Lane
from benches.registry import Group, load_all, smallest
from benches.results import BEND, Entry, human
from benches.runner import Runner
from benches.series import BOTH, FREED, FRESH, Point, Series

CASES = load_all()


def entry(name="sleep0@1", **costs):
    family, _, rest = name.partition("@")
    size, _, state = rest.partition("+")
    made = Entry(
        name, "tasks", family, "title", "things", int(size), size, state, "switch", "s", 3, list(costs)
    )
    names = {"native": LIMIT, "interpreter": FLOOR, "before": BEFORE}
    made.lanes = [names.get(lane, lane) for lane in costs]
    made.costs = {names.get(lane, lane): values for lane, values in costs.items()}
    made.extra = {lane: [{} for _ in values] for lane, values in made.costs.items()}
    return made


def verdict(made):
    return results.verdicts(made)[0]


def test_every_family_has_a_line_of_targets_and_every_line_a_family():
    assert {case.family for case in CASES.values()} == set(targets.TARGETS)


def test_every_target_is_about_a_size_that_is_measured():
    measured = {(case.family, case.size) for case in CASES.values()}
    for table in (targets.TARGETS, targets.FREED_TARGETS):
        assert {(family, size) for family, sizes in table.items() for size in sizes} <= measured


def test_every_family_is_a_series_of_at_least_three_sizes():
    sizes = {}
    for case in CASES.values():
        sizes.setdefault(case.family, set()).add(case.size)
    assert {family: found for family, found in sizes.items() if len(found) < 3} == {}
    # A decade or more from the first to the last (a pool of 100 workers is no case for two cores).
    few = {"process_cold_start", "process_memory"}
    assert [f for f, found in sizes.items() if max(found) < 10 * min(found) and f not in few] == []


def test_cases_of_input_and_output_come_in_both_states_of_malloc():
    states = {}
    for case in CASES.values():
        states.setdefault((case.family, case.size), set()).add(case.point.state)
    streams = ("echo", "echo_buffered", "echo_streams", "echo_connections", "connect_echo", "accepted")
    for family in (*streams, "open_connection", "sock_echo", "datagrams", "pipe_echo"):
        found = {frozenset(of) for (name, _), of in states.items() if name == family}
        assert found == {frozenset(BOTH)}
    assert CASES["echo@102400"].fresh and not CASES["echo@102400+freed"].fresh


def test_a_profile_guided_build_learns_from_cases_of_each_group_but_those_that_want_more_than_python():
    chosen = training.chosen(CASES)
    assert {case.group for case in CASES.values()} - {case.group for case in chosen} == {"memory", "http"}
    assert [case.name for case in chosen if case.needs] == []


def test_the_names_of_points():
    points = Series(None, (64, 1024, 2**20), BOTH).points("echo")
    assert [point.name for point in points[2:4]] == ["echo@1048576", "echo@64+freed"]
    assert [point.label for point in points[:3]] == ["64 B", "1 KiB", "1 MiB"]
    sizes = (100, 10_000, 1_600_000, 16_000_000)
    assert [point.label for point in Series(None, sizes).points("array")] == [
        "100 B",
        "10 kB",
        "1.6 MB",
        "16 MB",
    ]
    assert Point("gather", "tasks", 100_000).words == "100,000 tasks"
    assert points[3].words == "64 B, after one freed block"


def test_the_smallest_of_each_family_is_a_fresh_one():
    chosen = smallest(CASES)
    assert len(chosen) == len(targets.TARGETS)
    assert all(case.point.state != FREED for case in chosen)
    assert all(case.size == min(c.size for c in CASES.values() if c.family == case.family) for case in chosen)


def test_a_ratio_is_the_median_of_ratios_within_rounds():
    # The machine was half as fast in the second round and ten times as slow in the third, for both.
    made = entry(uvloop=[2.0, 4.0, 20.0], aioxide=[1.0, 2.0, 5.0])
    assert made.times("aioxide", "uvloop") == [2.0, 2.0, 4.0]
    assert made.ratio("aioxide") == 2.0
    assert made.ratio("uvloop", "aioxide") == 0.5


def test_the_best_peer_is_never_one_of_ours_nor_one_that_failed():
    made = entry(
        asyncio=[3.0], uvloop=[2.0], zuvloop=[0.5], rloop=[1.0], aioxide=[0.1], native=[0.1], before=[0.1]
    )
    made.failed["zuvloop"] = "hangs"
    assert made.best_peer() == "rloop"
    del made.costs["uvloop"]
    assert made.best_peer() == "rloop"


def test_at_least_and_at_most():
    fast = verdict(entry("sleep0@1", uvloop=[1.7], aioxide=[1.0]))
    assert (fast.other, fast.figure, fast.met) == ("uvloop", 1.7, True)
    assert not verdict(entry("sleep0@1", uvloop=[1.69], aioxide=[1.0])).met
    assert verdict(entry("echo@64", uvloop=[1.0], native=[1.0], aioxide=[1.15])).met
    assert not verdict(entry("echo@64", uvloop=[1.0], native=[1.0], aioxide=[1.16])).met
    assert verdict(entry("idle_task@10000", asyncio=[100.0], aioxide=[95.0])).met
    assert not verdict(entry("idle_task@10000", asyncio=[100.0], aioxide=[96.0])).met
    assert verdict(entry("idle_connection@10000", aioxide=[1024.0])).met
    assert not verdict(entry("idle_connection@10000", aioxide=[1025.0])).met
    nothing = verdict(entry("sleep0@1", uvloop=[1.0]))
    assert (nothing.figure, nothing.met, nothing.word()) == (None, False, "no figure")


def test_a_size_without_a_target_of_its_own_is_to_be_no_slower_than_the_best_peer():
    assert targets.targets_of("sleep0", 100) == targets.NO_SLOWER
    assert targets.targets_of("echo_streams", 20 * 1024, FRESH) == targets.best(1.1)
    assert targets.targets_of("echo_streams", 20 * 1024, FREED) == targets.NO_SLOWER
    assert verdict(entry("sleep0@100", uvloop=[1.0] * 3, aioxide=[0.9] * 3)).met
    assert not verdict(entry("sleep0@100", uvloop=[1.0] * 3, aioxide=[1.1] * 3)).met
    # Rounds that go either way: a tie when the two loops differ by little.
    assert not verdict(entry("sleep0@100", uvloop=[1.0] * 3, aioxide=[0.9, 1.05, 1.05])).met
    assert verdict(entry("sleep0@100", uvloop=[1.0] * 3, aioxide=[0.9, 1.01, 1.05])).met


def test_a_target_beyond_the_limit_is_at_the_limit_only_for_who_is_near_it():
    # The interpreter alone would be 1.5 times as fast as the peer, where 1.7 is wanted.
    near = verdict(entry("sleep0@1", uvloop=[1.5], aioxide=[1.2], interpreter=[1.0]))
    assert (near.at_limit, near.met, near.word()) == (True, False, "at the limit")
    far = verdict(entry("sleep0@1", uvloop=[1.5], aioxide=[1.3], interpreter=[1.0]))
    assert far.word() == "MISSED"
    within_reach = verdict(entry("sleep0@1", uvloop=[1.8], aioxide=[1.2], interpreter=[1.0]))
    assert within_reach.word() == "MISSED"
    behind = verdict(entry("sleep0@1", uvloop=[1.1], aioxide=[1.2], interpreter=[1.0]))
    assert behind.word() == "MISSED"


def test_targets_of_other_columns_than_the_cost():
    made = entry("beside_protocol_2@10", uvloop=[5.0], aioxide=[1.0])
    made.extra["aioxide"] = [{"p99": 0.0061, "thread": 0.39, "idle": 0.89}]
    assert [result.met for result in results.verdicts(made)] == [True, False, False, False]
    made.extra["aioxide"] = [{"p99": 0.006, "thread": 0.4, "idle": 0.9}]
    assert [result.met for result in results.verdicts(made)] == [True, True, True, True]
    words = [result.target.words() for result in results.verdicts(made)]
    assert words[:3] == ["≥ 5 x best peer", "p99 ≤ 6 ms", "computing thread ≥ 40.0%"]
    faults = entry("echo@20480", uvloop=[1.2], aioxide=[1.0])
    faults.extra["aioxide"] = [{"faults": 1.01}]
    assert [result.met for result in results.verdicts(faults)] == [True, False]


def test_what_a_request_costs_without_a_loop():
    made = entry("uvicorn@50", uvloop=[20.0], aioxide=[10.0], native=[4.0])
    made.extra = {
        "uvloop": [{"cpu": 20.0, "framework": 7.0}],
        "aioxide": [{"cpu": 10.5, "framework": 6.0}],
        LIMIT: [{"cpu": 4.0}],
    }
    assert made.without_loop() == 10.0
    assert [result.figure for result in results.verdicts(made)] == [2.0, 1.05]
    assert all(result.met for result in results.verdicts(made))
    first = entry("process_array_first@16000000", asyncio=[1.0], aioxide=[41.0])
    first.extra["aioxide"] = [{"warm": 10.0}]
    assert (verdict(first).figure, verdict(first).met) == (4.1, False)


def test_a_share_of_the_ideal():
    made = entry("process_efficiency@1000", uvloop=[1.0, 1.0, 1.0], aioxide=[0.52, 0.5, 1.0])
    made.extra = {lane: [{"ideal": 0.5}] * 3 for lane in made.costs}
    assert verdict(made).figure == pytest.approx(0.5 / 0.52) and verdict(made).met
    made.costs["aioxide"] = [0.53, 0.53, 0.53]
    assert not verdict(made).met
    assert verdict(made).target.words() == "≥ 95% of the ideal"
    assert made.efficiency("rloop") is None


def test_a_curve_bends_where_the_cost_of_an_operation_changes():
    curve = [
        entry("sleep0@1", uvloop=[1.0], aioxide=[1.0]),
        entry("sleep0@100", uvloop=[1.0], aioxide=[1.1]),
        entry("sleep0@10000", uvloop=[2.0], aioxide=[1.1 * BEND]),
    ]
    assert [(bend.smaller.size, bend.larger.size) for bend in results.bends(curve, "aioxide")] == [
        (100, 10_000)
    ]
    assert results.bends(curve, "rloop") == []
    curve[2].costs["aioxide"] = [1.2]
    assert results.bends(curve, "aioxide") == []
    text = tables.bends_list([[*curve[:2], entry("sleep0@10000", uvloop=[2.0], aioxide=[3.3])]])
    assert "from 100 to 10000 3.0 times as dear; uvloop 2.0" in text
    text = tables.bends_list([[*curve[:2], entry("sleep0@10000", uvloop=[0.2], rloop=[2.0], aioxide=[0.5])]])
    assert "from 100 to 10000 2.2 times as cheap; uvloop 5.0" in text
    curve[1].costs["rloop"] = [1.0]
    text = tables.bends_list([[*curve[:2], entry("sleep0@10000", rloop=[2.0], aioxide=[0.5])]])
    assert "2.2 times as cheap; rloop 2.0 the other way" in text


def test_larger_messages_are_dearer_without_a_bend():
    sizes = [("echo@64", 1.0), ("echo@1024", 3.0), ("echo@20480", 60.0)]
    curve = [entry(name, aioxide=[2 * cost], native=[cost]) for name, cost in sizes]
    for made in curve:
        made.axis = ""
    assert results.bends(curve, "aioxide") == []
    curve[2].costs["aioxide"] = [300.0]
    assert [bend.factor for bend in results.bends(curve, "aioxide")] == [pytest.approx(2.5)]


def test_every_loss_is_in_the_report_and_the_older_build_beside():
    run = results.Results(
        {
            **dict.fromkeys(("processor", "cores", "kernel", "libc", "congestion", "python", "date"), "some"),
            **dict.fromkeys(("python_build", "aioxide_build", "clock"), "some"),
            "versions": {},
            "tools": {},
            "missing": {},
            "before": "commit abc",
        }
    )
    lost = entry("sleep0@1", uvloop=[1.0] * 3, aioxide=[1.25] * 3, before=[1.0] * 3)
    won = entry("sleep0@100", uvloop=[1.0] * 3, aioxide=[0.5] * 3)
    run.entries = {lost.name: lost, won.name: won}
    written = report.markdown(run)
    ahead = written.partition("## Where a peer is ahead")[2].partition("##")[0]
    assert lost.title in ahead and "0.80 (0.80 to 0.80)" in ahead and won.title not in ahead
    before = written.partition("## Before and after")[2].partition("\n## ")[0]
    assert "**0.80 (0.80 to 0.80)**" in before and "commit abc" in before
    assert "1 of 2 targets met, 0 at the limit, 1 missed." in written
    # Of a family that has not run at all, the name; of one that has, the sizes.
    unrun = written.partition("Not run: ")[2].partition("\n")[0]
    assert "sleep0@10000, create_task, future_ping_pong" in unrun and "create_task@" not in unrun


def test_what_is_at_the_limit_stands_in_a_table_of_its_own_beside_the_limit():
    near = entry("sleep0@1", uvloop=[1.5e-6], aioxide=[1.2e-6], interpreter=[1.0e-6])
    text = tables.limit_table([near])
    row = "| ≥ 1.7 x best peer (uvloop) | 1.25 x, 1.2 µs | 1.50 x (interpreter, 1 µs) | 1.20 |"
    assert text.splitlines()[-1].endswith(row)
    assert near.title not in tables.targets_table([near]) and tables.limit_table([entry(uvloop=[1.0])]) == ""


def test_the_report_says_in_which_state_malloc_was():
    fresh, freed = entry("echo@64+fresh", aioxide=[1.0]), entry("echo@64+freed", aioxide=[1.0])
    fresh.probes, freed.probes = {"asyncio": 2.0, "uvloop": 2.0, "aioxide": 0.0}, {"aioxide": 0.05}
    said = tables.probes([fresh, freed])
    assert "2.00 fresh process, 0.05 after one freed block." in said
    assert said.endswith("(fresh process): aioxide 0.00.")


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
    window = {
        "count": 0,
        "seconds": 1.0,
        "server_cpu": 1.0,
        "server_faults": 1,
        "client_cpu": 1.0,
        "p99": 1.0,
    }
    with pytest.raises(processes.Wrong, match="nothing came back"):
        window_sample(window)


def test_operations_are_done_in_whole_steps():
    assert Settings().count(200_000, 3_000) == 198_000
    assert Settings().count(1_000, 100_000) == 100_000
    assert Settings(quick=True).count(200_000, 7) == 9_996


def test_a_saved_run_comes_back_and_a_later_part_replaces_only_its_cases(tmp_path):
    run = results.Results({"date": "then"})
    run.entries = {"sleep0@1": entry(uvloop=[1.0]), "wait@10": entry("wait@10", uvloop=[2.0])}
    run.save(tmp_path / "results.json")
    saved = results.Results.load(tmp_path / "results.json")
    assert saved.entries == run.entries and saved.meta == run.meta
    run.entries["gone@1"] = entry("gone@1", uvloop=[1.0])
    run.save(tmp_path / "results.json")
    assert list(results.Results.load(tmp_path / "results.json").entries) == ["sleep0@1", "wait@10"]
    later = results.Results({"date": "now"})
    later.entries = {"wait@10": entry("wait@10", uvloop=[3.0])}
    saved.update(later, ["wait@10", "sleep0@1"])
    assert list(saved.entries) == ["wait@10", "sleep0@1"]
    assert saved.entries["wait@10"].costs == {"uvloop": [3.0]} and saved.meta == {"date": "now"}


def run_one(case: Case, lanes: list[str]):
    runner = Runner(lanes, Settings(quick=True), results.Results())
    runner.run_case(case)
    return runner, runner.results.entries[case.name]


@pytest.mark.parametrize("name", ["call_soon_chain@10", "future_ping_pong@2"])
def test_a_case_runs_on_the_loops_that_it_names(name):
    runner, made = run_one(CASES[name], ["asyncio", "aioxide"])
    assert runner.problems == []
    assert set(made.costs) == {"asyncio", "aioxide"} and made.failed == {}
    assert all(set(sample) == {"wall", "cpu", "faults"} for sample in made.extra["aioxide"])


def test_a_case_that_is_stopped_in_the_middle_leaves_no_figures(monkeypatch):
    case = CASES["sleep0@1"]
    monkeypatch.setattr(processes.Stage, "worker", lambda stage, lane, case: Stub(case))

    def stopped(process, settings):
        raise SystemExit("stopped")

    monkeypatch.setattr(case, "sample", stopped)
    runner = Runner(["asyncio"], Settings(rounds=3), results.Results())
    with pytest.raises(SystemExit):
        runner.run_case(case)
    assert runner.results.entries == {}


@pytest.mark.skipif(bool(LANES[FLOOR].missing()), reason=f"the bare interpreter: {LANES[FLOOR].missing()}")
@pytest.mark.parametrize(
    "name",
    ["call_soon_queued@1000", "sleep0@100", "create_task@100", "gather@10"]
    + ["wait_for@1", "timeout@100"] * (sys.version_info >= (3, 14)),
)
def test_the_bare_interpreter_does_the_work_of_a_case_and_takes_less_for_it(name):
    # Such short runs, beside other tests: the cheapest of some is what it costs.
    costs = {"asyncio": [], FLOOR: []}
    for _ in range(5):
        runner, made = run_one(CASES[name], ["asyncio", FLOOR])
        assert runner.problems == [] and made.limit == FLOOR
        for lane, seen in costs.items():
            seen.append(made.cost(lane))
        if min(costs[FLOOR]) < min(costs["asyncio"]):
            return
    raise AssertionError(costs)


def test_a_case_of_pools_runs_on_lanes_of_its_own_only():
    contenders = Runner(list(LANES), Settings(quick=True), results.Results()).contenders
    pools = ["asyncio", "uvloop", "zuvloop", "loky", "aioxide", BEFORE]
    assert contenders(CASES["process_call@100"]) == pools
    assert "loky" not in contenders(CASES["thread_gather@100"]) + contenders(CASES["sleep0@1"])
    assert CASES["process_call@100"].place is processes.on_all_cores


def test_who_only_replaces_transports_is_in_the_cases_of_transports_only():
    contenders = Runner(list(LANES), Settings(quick=True), results.Results()).contenders
    assert "aiofastnet" in contenders(CASES["echo@64"]) and "aiofastnet" in contenders(
        CASES["open_connection@1"]
    )
    assert "aiofastnet" not in contenders(CASES["sleep0@1"]) + contenders(CASES["to_thread@1"])
    assert not LANES["aiofastnet"].owns_transports("uvloop.")
    assert contenders(CASES["echo@64"])[-1] == LIMIT and contenders(CASES["sleep0@1"])[-1] == FLOOR


@pytest.mark.parametrize(
    "name", ["to_thread_no_spin@1", "thread_submit@10", "process_gather@50", "process_cold_start@1"]
)
def test_a_case_of_pools_runs(name):
    runner, made = run_one(CASES[name], ["asyncio", "aioxide"])
    assert runner.problems == []
    assert set(made.costs) == {"asyncio", "aioxide"} and made.failed == {}
    assert all(sample["cpu"] > 0 for sample in made.extra["aioxide"])


def test_another_pool_than_claimed_is_a_problem(monkeypatch):
    # The worker, another process, still takes the standard library's for the lane of that name.
    monkeypatch.setitem(LANES, "asyncio", Lane("asyncio", "asyncio", pools="loky"))
    runner, made = run_one(CASES["thread_submit@1"], ["asyncio"])
    assert made.costs == {}
    assert len(runner.problems) == 1 and "which is not a pool of loky" in runner.problems[0]


def test_each_case_and_each_sample_of_a_fresh_one_has_a_process_of_its_own(monkeypatch):
    started = []
    monkeypatch.setattr(
        processes.Stage, "worker", lambda stage, lane, case: started.append(lane) or Stub(case)
    )
    settings = Settings(rounds=3)
    for name, expected in (("sleep0@1", 1), ("echo@64+freed", 1), ("echo@64", 3)):
        started.clear()
        case = CASES[name]
        monkeypatch.setattr(case, "sample", lambda process, settings: Sample(1.0, {}))
        Runner(["asyncio"], settings, results.Results())._rounds(
            case, results.Results().begin(case, ["asyncio"], 3)
        )
        assert len(started) == expected


class Stub:
    """A worker that answers as asyncio's would, in the state of malloc that its case wants."""

    def __init__(self, case):
        self.faults = 0.0 if case.freed else 2.0
        self.said, self.port, self.killed = {}, 0, False

    def request(self, message, timeout):
        named = {
            "loop": "asyncio.unix_events._UnixSelectorEventLoop",
            "namespace": "asyncio",
            "server": "asyncio.",
        }
        return named | {"port": 1, "read_faults": self.faults}

    def alive(self):
        return not self.killed

    def kill(self):
        self.killed = True


def test_a_process_that_is_not_fresh_is_started_once_more(monkeypatch):
    made = []

    def worker(stage, lane, case):
        made.append(Stub(case))
        # The first start compiles the modules.
        made[0].faults = 0.0
        return made[-1]

    monkeypatch.setattr(processes.Stage, "worker", worker)
    got = processes.Stage().started("asyncio", CASES["echo@64"], "serve", 1)
    assert len(made) == 2 and made[0].killed and got is made[1]


@pytest.mark.parametrize(("name", "faults"), [("echo@64", True), ("echo@64+freed", False)])
def test_a_worker_has_malloc_in_the_state_that_its_case_wants(name, faults):
    stage = processes.Stage()
    try:
        server = stage.server("asyncio", CASES[name], 10)
        assert (server.said["read_faults"] > 0.5) is faults
    finally:
        stage.clear()
    assert not server.alive()


def test_another_loop_than_claimed_is_a_problem_even_for_a_peer(monkeypatch):
    # The worker, another process, still makes asyncio's loop for the lane of that name.
    monkeypatch.setitem(LANES, "asyncio", Lane("asyncio", "rloop"))
    monkeypatch.setattr("benches.runner.MUST_RUN", ())
    runner, made = run_one(CASES["sleep0@1"], ["asyncio"])
    assert made.costs == {}
    assert len(runner.problems) == 1 and "which is not asyncio's" in runner.problems[0]


def test_an_older_build_that_is_not_where_it_should_be_is_a_problem(tmp_path):
    runner = Runner([BEFORE], Settings(quick=True), results.Results(), tmp_path)
    runner.run_case(CASES["sleep0@1"])
    assert len(runner.problems) == 1 and "ran on the package in" in runner.problems[0]


def test_less_work_than_asked_for_is_a_problem(monkeypatch):
    monkeypatch.setattr(processes.Worker, "request", lookalike)
    _, made = run_one(CASES["sleep0@1"], ["asyncio"])
    assert made.failed == {"asyncio": "did 9999 operations instead of 10000"}


def lookalike(worker, message, timeout):
    """Answers as a worker that did one operation too few."""
    if "run" in message:
        return {"done": message["run"] - 1, "wall": 1.0, "cpu": 1.0, "faults": 0}
    loop = "asyncio.unix_events._UnixSelectorEventLoop"
    return {"loop": loop, "namespace": "asyncio", "server": "asyncio."}


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

    @group.coroutine("a title", Series("things", (1, 10)), n=10, operation="thing")
    async def a_case(aio, n, size):
        return n

    assert list(group.cases) == ["a_case@1", "a_case@10"]
    assert group.cases["a_case@10"].title == "a title: 10 things"
    with pytest.raises(TypeError, match="no option colour"):
        InLoop(Point("a", "b", 1), "some", "a title", "thing", n=1, body=None, colour="red")
