"""`ClusterExecutor` and event loops: awaited from ours, and with its own client on ours; and clusters of its own."""

import asyncio
import os
import sys

import pytest

from tests import certs
from tests.cluster import support as cluster_support
from tests.cluster.support import add, cluster, pids, psutil, write_pid_and_wait
from tests.support.interpreters import output_of, start_python

import aioxide  # isort: skip

DEADLINE = 60


@pytest.fixture(scope="module")
def pool(running):
    with aioxide.ClusterExecutor(scheduler_file=running.file, pickle_by_value=[cluster_support]) as pool:
        pool.client.wait_for_workers(2, timeout=DEADLINE)
        yield pool


@pytest.mark.parametrize("how", ["run_in_executor", "await"])
def test_the_loop_goes_on_while_it_is_awaited(pool, tmp_path, how):
    async def main():
        loop = asyncio.get_running_loop()
        path, release = tmp_path / "pid", tmp_path / "release"

        async def let_go():
            while not pids(path):
                await asyncio.sleep(0.005)
            release.touch()

        # What the call waits for is done by the loop: if that waited for the call, neither would end.
        letting_go = asyncio.ensure_future(let_go())
        if how == "await":
            assert await pool.submit(write_pid_and_wait, str(path), str(release)) > 0
            assert await asyncio.gather(pool.submit(add, 1), pool.submit(add, 2)) == [1, 2]
        elif how == "run_in_executor":
            assert await loop.run_in_executor(pool, write_pid_and_wait, str(path), str(release)) > 0
        await letting_go

    aioxide.run(asyncio.wait_for(main(), DEADLINE) if sys.version_info >= (3, 12) else main())


def test_it_is_no_loops_default_executor(pool):
    async def main():
        with pytest.raises(TypeError, match="ThreadPoolExecutor"):
            asyncio.get_running_loop().set_default_executor(pool)

    aioxide.run(main())


def test_a_coroutine_makes_uses_and_leaves_a_pool(running, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        path, release = str(tmp_path / "pid"), tmp_path / "release"
        options = {"scheduler_file": running.file, "pickle_by_value": [cluster_support]}
        async with await asyncio.to_thread(aioxide.ClusterExecutor, **options) as pool:
            results = await asyncio.gather(*(loop.run_in_executor(pool, pow, 2, each) for each in range(10)))
            last = pool.submit(write_pid_and_wait, path, str(release))
            # The end of the block waits for the call, and the call for what the loop does meanwhile.
            loop.call_later(0.1, release.touch)
        assert last.done() and last.result() > 0
        assert results == [2**each for each in range(10)]
        assert pool.client.status == "closed"

    aioxide.run(main())


def test_exceptions_reach_the_coroutine(pool):
    async def main():
        with pytest.raises(ZeroDivisionError):
            await asyncio.get_running_loop().run_in_executor(pool, divmod, 1, 0)
        with pytest.raises(ZeroDivisionError):
            await pool.submit(divmod, 1, 0)
        with pytest.raises(TypeError, match="cannot pickle"):
            await pool.submit(print, asyncio.get_running_loop())

    aioxide.run(main())


# Each says on which loop the client itself runs, and what a call gives.
PROGRAM = """if True:
    import asyncio, sys, warnings
    import aioxide
    {first}

    async def main(pool):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, pow, 2, 5), await asyncio.wrap_future(pool.submit(sum, [1, 2]))

    if __name__ == "__main__":
        with aioxide.ClusterExecutor({address}) as pool:
            print(type(pool.client.loop.asyncio_loop).__module__.partition(".")[0], *asyncio.run(main(pool)))
"""
POLICY = (
    'warnings.simplefilter("ignore", DeprecationWarning); '
    "asyncio.set_event_loop_policy(aioxide.EventLoopPolicy())"
)


@pytest.mark.parametrize(
    ("first", "options", "expected"),
    [
        ("aioxide.install()", [], "aioxide"),
        ("aioxide.install(namespace=True)", [], "aioxide"),
        (POLICY, [], "aioxide"),
        ("", ["-m", "aioxide"], "aioxide"),
        ("", [], "asyncio"),
    ],
)
def test_the_clients_own_loop_may_be_ours(pool, first, options, expected):
    program = PROGRAM.format(first=first, address=repr(pool.client.scheduler.address))
    assert output_of(*options, "-c", program) == f"{expected} 32 3\n"


def test_a_scheduler_file_or_an_address_joins_a_cluster(running, pool):
    address = pool.client.scheduler.address
    for arguments, options in [
        ([address], {}),
        ([running.file], {}),
        ([], {"scheduler_file": running.file}),
        ([], {"scheduler_file": str(running.file)}),
    ]:
        with aioxide.ClusterExecutor(*arguments, **options) as other:
            assert other.client.scheduler.address == address
            assert other.submit(os.getpid).result(DEADLINE) != os.getpid()
    # They have left, and the cluster has not.
    assert pool.submit(add, 1).result(DEADLINE) == 1


LOCAL = """if True:
    import os, sys
    import aioxide, distributed, psutil

    class Point:
        def __init__(self, x):
            self.x = x

    def work(point):
        loop = distributed.get_worker().loop.asyncio_loop
        assert type(loop).__module__.startswith({loop!r}), type(loop)
        return Point(point.x + 1), os.getpid()

    if __name__ == "__main__":
        with aioxide.ClusterExecutor(max_workers=2, cancel_running=True, timeout=30) as pool:
            assert len(pool.client.scheduler_info()["workers"]) == 2
            assert {{each["nthreads"] for each in pool.client.scheduler_info()["workers"].values()}} == {{1}}
            everybody = [psutil.Process(), *psutil.Process().children(recursive=True)]
            listening = {{c.laddr.ip for each in everybody for c in each.net_connections() if c.status == "LISTEN"}}
            assert listening == {{"127.0.0.1"}}, listening
            point, pid = pool.submit(work, Point(3)).result(60)
            assert type(point) is Point and point.x == 4 and pid != os.getpid()
            try:
                distributed.default_client()
            except ValueError:
                print("no default client")
        left = [each.cmdline() for each in psutil.Process().children(recursive=True)]
        # multiprocessing's own ends with the program.
        print([each for each in left if "resource_tracker" not in str(each)])
"""


@pytest.mark.parametrize("way", [[], ["-m", "aioxide"]])
def test_without_an_address_it_brings_its_own_workers_and_takes_them_away(tmp_path, way):
    script = tmp_path / "script.py"
    script.write_text(LOCAL.format(loop="aioxide" if way else "asyncio"))
    lines = output_of("-W", "error", *way, script).splitlines()
    assert lines == ["no default client", "[]"]


BESIDE = """if True:
    import os, sys, time
    import aioxide

    def wait(release):
        while not os.path.exists(release):
            time.sleep(0.01)

    if __name__ == "__main__":
        with aioxide.ClusterExecutor(max_workers=2) as pool:
            for size in (1, 2_000_000):
                release = f"{sys.argv[1]} {size}"
                long = pool.submit(wait, release)
                while not long.running():
                    time.sleep(0.01)
                others = [pool.submit(len, bytes(size)) for _ in range(8)]
                behind = 0
                while not all(each.done() for each in others):
                    behind = max(behind, len(pool.client.processing()[long.call.worker]) - 1)
                print(behind, {each.result() for each in others}, long.running())
                open(release, "w").close()
                long.result(30)
"""


def test_no_call_waits_behind_a_long_one_while_a_worker_is_free(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(BESIDE)
    assert output_of(script, tmp_path / "release") == "0 {1} True\n0 {2000000} True\n"


def test_nothing_is_left_of_a_program_that_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import aioxide, os, time\n"
        "if __name__ == '__main__':\n"
        "    pool = aioxide.ClusterExecutor(max_workers=1)\n"
        "    print(pool.submit(os.getpid).result(60), flush=True)\n"
        "    pool.submit(time.sleep, 3).result(60)\n"
    )
    process = start_python(script)
    try:
        worker = psutil.Process(int(process.stdout.readline()))
        everything = psutil.Process(process.pid).children(recursive=True)
        assert worker in everything
    finally:
        process.kill()
        process.communicate()
    assert psutil.wait_procs(everything, timeout=DEADLINE)[1] == []


def test_tls_and_its_certificates(tmp_path):
    import distributed

    ca, pair = str(certs.CA), str(certs.SERVER)
    files = {"tls_ca_file": ca, "tls_client_cert": pair, "tls_client_key": pair, "require_encryption": True}
    options = ["--protocol", "tls", "--tls-ca-file", ca, "--tls-cert", pair, "--tls-key", pair]
    with cluster(tmp_path, workers=1, nanny=False, options=options) as encrypted:
        with pytest.raises(TypeError, match=r"(?i)tls|ssl"):
            aioxide.ClusterExecutor(scheduler_file=encrypted.file, timeout=2)
        security = distributed.Security(**files)
        with aioxide.ClusterExecutor(scheduler_file=encrypted.file, security=security) as pool:
            assert pool.client.scheduler.address.startswith("tls://")
            assert pool.submit(pow, 2, 3).result(DEADLINE) == 8
