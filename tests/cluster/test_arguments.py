"""Each argument of `ClusterExecutor` does what its docstring says."""

import contextlib
import inspect
import json
import sys
import textwrap
import threading
import time

import pytest

from tests.cluster import support as cluster_support
from tests.cluster.support import add, requests
from tests.support.interpreters import output_of
from tests.support.recipes import free_port

numpy = pytest.importorskip("numpy", reason="numpy is not installed (tests/cluster/requirements.txt)")
import aioxide  # noqa: E402

DEADLINE = 60


def run_script(folder, body, *setup):
    """What a program prints that runs `body`: workers of its own need a file, and a main module that is guarded."""
    # What distributed logs, on purpose here, goes to the standard error.
    lines = [
        "import logging, os, sys, time",
        "import aioxide",
        "logging.disable()",
        *setup,
        "if __name__ == '__main__':",
    ]
    script = folder / "script.py"
    script.write_text("\n".join(lines) + "\n" + textwrap.indent(textwrap.dedent(body), "    "))
    return output_of("-W", "error", script)


def test_every_argument_has_a_test():
    # Elsewhere: what has its own file, or its own part of one.
    elsewhere = {"self", "address", "cancel_running", "pickle_by_value", "retries"}
    source = inspect.getsource(sys.modules[__name__])
    arguments = inspect.signature(aioxide.ClusterExecutor.__init__).parameters.keys() - elsewhere
    assert [name for name in arguments if f"{name}=" not in source and f'"{name}"' not in source] == []
    documented = inspect.cleandoc(aioxide.ClusterExecutor.__doc__)
    assert [name for name in arguments if f"\n    {name}:" not in documented] == []


# Workers of our own.


def test_max_workers_are_by_default_as_many_as_processors(tmp_path):
    body = """
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        for options in ({}, {"max_workers": 2}):
            with aioxide.ClusterExecutor(**options) as pool:
                print(len(pool.client.scheduler_info()["workers"]), len(set(pool.map(pid, range(40), chunksize=1))))
    """
    assert run_script(
        tmp_path, body, "def pid(number):", "    time.sleep(0.02)", "    return os.getpid()"
    ) == ("1 1\n2 2\n")


def test_security_true_encrypts_what_our_own_workers_say(tmp_path):
    pytest.importorskip("cryptography", reason="it makes the certificates (tests/cluster/requirements.txt)")
    body = """
        import distributed
        with aioxide.ClusterExecutor(max_workers=1, security=True) as pool:
            addresses = [pool.client.scheduler.address, *pool.client.scheduler_info()["workers"]]
            print({each.partition("://")[0] for each in addresses})
            print(pool.submit(pow, 2, 5).result(60), sum(pool.submit(bytes, 3_000_000).result(60)))
            for security in (None, distributed.Security.temporary()):
                try:
                    distributed.Client(addresses[0], security=security, timeout=2)
                except Exception as error:
                    print(type(error).__name__)
    """
    lines = run_script(tmp_path, body).splitlines()
    assert lines[:2] == ["{'tls'}", "32 0"]
    # Neither who has no certificate nor who has another one gets in.
    assert len(lines) == 4


def test_a_worker_that_uses_more_than_memory_limit_is_ended(tmp_path):
    body = """
        limit = 400 << 20
        with aioxide.ClusterExecutor(max_workers=1, memory_limit=limit) as pool:
            print({each["memory_limit"] == limit for each in pool.client.scheduler_info()["workers"].values()})
            print(type(pool.submit(grow, 600 << 20).exception(90)).__name__)
            print(pool.submit(pow, 2, 3).result(60))
        with aioxide.ClusterExecutor(max_workers=1) as pool:
            print({each["memory_limit"] for each in pool.client.scheduler_info()["workers"].values()})
    """
    setup = "def grow(size):", "    mine = b'x' * size", "    time.sleep(60)", "    return mine"
    assert run_script(tmp_path, body, *setup) == "{True}\nBrokenClusterWorker\n8\n{0}\n"


def test_the_dashboard_is_where_it_was_said_and_nowhere_by_default(tmp_path):
    body = """
        import urllib.error, urllib.request
        for address in (None, sys.argv[1]):
            with aioxide.ClusterExecutor(max_workers=1, dashboard_address=address) as pool:
                port = pool.client.scheduler_info()["services"]["dashboard"]
                print(address is None or port == int(address.rpartition(":")[2]))
                try:
                    # Without bokeh installed it is a page that says so.
                    print(urllib.request.urlopen(f"http://127.0.0.1:{port}/status").status)
                except urllib.error.HTTPError as error:
                    print(error.code)
                    error.close()
    """.replace("sys.argv[1]", repr(f"127.0.0.1:{free_port()}"))
    assert run_script(tmp_path, body) == "True\n404\nTrue\n200\n"


def test_cluster_options_and_client_options_are_passed_on(tmp_path):
    body = """
        with aioxide.ClusterExecutor(
            max_workers=1, cluster_options={"threads_per_worker": 3}, client_options={"name": "mine"}
        ) as pool:
            print({each["nthreads"] for each in pool.client.scheduler_info()["workers"].values()})
            print(pool.client.id.startswith("Client-mine-"))
            print(pool.submit(pow, 2, 3).result(60))
    """
    assert run_script(tmp_path, body) == "{3}\nTrue\n8\n"


# A cluster that is there.


@pytest.mark.parametrize("direct", [True, False, None])
def test_direct_is_past_the_scheduler(running, direct):
    with aioxide.ClusterExecutor(scheduler_file=running.file, direct=direct) as pool:
        pool.client.wait_for_workers(2, timeout=DEADLINE)
        with requests(pool, "gather", "scatter") as counts:
            array = numpy.ones(500_000)
            assert pool.submit(numpy.negative, array).result(DEADLINE).sum() == -500_000
    assert [bool(count) for count in counts.values()] == [not direct, not direct]


# Dask's own cluster objects. Of what is left of its processes only the resource tracker may be seen.
ADOPTED = """
    import distributed
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0, host="127.0.0.1"
    ) as cluster:
        for number in range(2):
            with aioxide.ClusterExecutor(cluster, cancel_running=True) as pool:
                print(len(set(pool.map(pid, range(40), chunksize=1))), pool.client.cluster is cluster)
        with distributed.Client(cluster) as client:
            print(client.submit(pow, 2, 4).result(), cluster.status.name)
    try:
        aioxide.ClusterExecutor(cluster)
    except RuntimeError as error:
        print("already closed" in str(error))
"""


def test_a_cluster_object_is_adopted_and_goes_on(tmp_path):
    setup = "def pid(number):", "    time.sleep(0.02)", "    return os.getpid()"
    assert run_script(tmp_path, ADOPTED, *setup) == "2 True\n2 True\n16 running\nTrue\n"


def test_a_cluster_object_of_this_threads_loop_is_adopted_in_another_thread(tmp_path):
    body = """
        import asyncio, distributed

        async def main():
            async with distributed.LocalCluster(
                n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0, asynchronous=True
            ) as cluster:
                try:
                    aioxide.ClusterExecutor(cluster)
                except RuntimeError as error:
                    print("must not wait for it: use await asyncio.to_thread" in str(error))
                async with await asyncio.to_thread(aioxide.ClusterExecutor, cluster) as pool:
                    futures = [pool.submit(pow, 2, each) for each in range(5)]
                    print(await asyncio.gather(*futures), [each.cancel() for each in futures])
        asyncio.run(main())
    """
    assert run_script(tmp_path, body) == "True\n[1, 2, 4, 8, 16] [False, False, False, False, False]\n"


@pytest.mark.parametrize("given", ["client", 5])
def test_what_is_no_cluster_is_refused(running, given):
    import distributed

    with contextlib.ExitStack() as stack:
        if given == "client":
            given = stack.enter_context(distributed.Client(scheduler_file=str(running.file)))
        with pytest.raises(TypeError, match="must be a string or a Cluster instance"):
            aioxide.ClusterExecutor(given)


def test_a_scheduler_file_may_be_about_to_be_written(running, tmp_path):
    late = tmp_path / "late.json"

    def write():
        time.sleep(0.3)
        late.write_text("{")
        time.sleep(0.3)
        late.write_text(running.file.read_text())

    writing = threading.Thread(target=write)
    writing.start()
    with aioxide.ClusterExecutor(late, timeout=DEADLINE) as pool:
        assert pool.client.scheduler.address == json.loads(running.file.read_text())["address"]
    writing.join()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"no scheduler has written its file '.*there.json' within 0.2 seconds"),
        ("{", r"'.*there.json' is not the file of a scheduler: JSONDecodeError"),
        ("{}", r"'.*there.json' is not the file of a scheduler: KeyError\('address'\)"),
        ("[]", r"'.*there.json' is not the file of a scheduler: TypeError"),
    ],
)
def test_a_scheduler_file_that_does_not_come_is_not_waited_for_longer_than_timeout(tmp_path, text, message):
    if text is not None:
        (tmp_path / "there.json").write_text(text)
    with pytest.raises(TimeoutError, match=message):
        aioxide.ClusterExecutor(scheduler_file=tmp_path / "there.json", timeout=0.2)


def test_a_scheduler_that_cannot_be_reached_leaves_nothing_behind():
    before = set(threading.enumerate())
    with pytest.raises(OSError, match=r"127.0.0.1:1"):
        aioxide.ClusterExecutor("tcp://127.0.0.1:1", timeout=0.5)
    # distributed's own, for a tls:// address without certificates
    with pytest.raises(TypeError, match="ssl"):
        aioxide.ClusterExecutor("tls://127.0.0.1:1", timeout=0.5)
    assert not {thread for thread in set(threading.enumerate()) - before if "loop" in thread.name.lower()}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"address": "tcp://x:1", "scheduler_file": "y"}, TypeError, "both name a scheduler"),
        ({"address": "tcp://x:1", "max_workers": 2}, ValueError, "without an address"),
        ({"scheduler_file": "x", "memory_limit": 2}, ValueError, "without an address"),
        ({"address": "tcp://x:1", "dashboard_address": ":1"}, ValueError, "without an address"),
        ({"address": "tcp://x:1", "cluster_options": {}}, ValueError, "without an address"),
        ({"address": "tcp://x:1", "security": True}, ValueError, "has its own: pass a distributed.Security"),
        ({"max_workers": 0}, ValueError, "max_workers must be an integer or None, 1 or more, not 0"),
        (
            {"memory_limit": -1},
            ValueError,
            "memory_limit must be an integer \\(bytes\\) or None, 1 or more, not -1",
        ),
        ({"retries": -1}, ValueError, "retries must be an integer, 0 or more, not -1"),
        (
            {"pickle_by_value": ["os"]},
            TypeError,
            "must be an iterable of modules that were imported, not a list with 'os' in it",
        ),
    ],
)
def test_arguments_that_do_not_go_together(options, error, text):
    with pytest.raises(error, match=text):
        aioxide.ClusterExecutor(**options)


def test_a_pool_of_which_one_argument_is_wrong_changes_nothing(running):
    import cloudpickle

    with aioxide.ClusterExecutor(scheduler_file=running.file, pickle_by_value=[cluster_support]) as pool:
        with pytest.raises(TypeError, match="not a list with 'os' in it"):
            aioxide.ClusterExecutor(running.file, pickle_by_value=[cluster_support, "os"])
        with pytest.raises(TypeError, match="must be a Security object"):
            aioxide.ClusterExecutor(running.file, pickle_by_value=[cluster_support], security="junk")
        assert cluster_support.__name__ in cloudpickle.list_registry_pickle_by_value()
        assert pool.submit(add, 1).result(DEADLINE) == 1
    assert cluster_support.__name__ not in cloudpickle.list_registry_pickle_by_value()
