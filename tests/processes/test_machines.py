"""Machines that are not as they might be: containers with a small /dev/shm or none, and parents that are killed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes.faults import METHODS, Program, alone
from tests.processes.test_faults import OWN, kinds
from tests.support.programs import DEADLINE, ROOT, until

pytest.importorskip("numpy", reason="numpy is not installed (tests/processes/requirements.txt)")

# What each makes of /dev/shm, in a mount namespace of its own: nothing of it is seen outside.
SMALL = "mount -t tmpfs -o size={size} none /dev/shm"
ABSENT = """
new=$(mktemp -d)
mount -t tmpfs none $new
for name in null zero random urandom tty; do touch $new/$name; mount --bind /dev/$name $new/$name; done
mount --move $new /dev
rmdir $new
"""
MACHINES = {"64 MB": SMALL.format(size="64m"), "1 MB": SMALL.format(size="1m"), "none": ABSENT}

PROGRAM = """
import asyncio, multiprocessing, os, sys
import numpy
import aioxide
from aioxide import shared
from tests.support import process_tasks as tasks

def main(method):
    room = os.statvfs("/dev/shm") if os.path.exists("/dev/shm") else None
    print("shm:", room and room.f_blocks * room.f_frsize >> 20)
    array = numpy.ones(100_000_000 // 8)
    with aioxide.ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        assert (pool.submit(tasks.square, array * 2).result(60)[::1000] == 4).all()
        together = shared.empty(array.shape)
        together[:] = 3
        assert pool.submit(tasks.square, together).result(60)[-1] == 9
        assert pool.submit(tasks.write_first, together, 5.0).result(60) and together[0] == 5
        assert pool.submit(tasks.total, pool.share({"array": array})).result(60)[0] == array.size
        made = pool.submit(tasks.make_shared, array.size).result(60)
        assert made[-1] == 7
        async def in_loop():
            return await asyncio.get_running_loop().run_in_executor(pool, tasks.square, array)
        assert aioxide.run(in_loop())[-1] == 1
        assert len(pool.submit(tasks.same, b"x" * 100_000_000).result(60)) == 100_000_000
    print("done")

if __name__ == "__main__":
    main(sys.argv[1])
"""


def why_not():
    """Why this machine cannot make a /dev of its own for a program, or None."""
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    tried = subprocess.run(
        ["unshare", "-m", "sh", "-ec", SMALL.format(size="1m")], capture_output=True, text=True, check=False
    )
    return tried.stderr.strip() if tried.returncode else None


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("method", METHODS)
def test_100_mb_arrays_where_dev_shm_is_small(tmp_path, machine, method):
    if reason := why_not():
        pytest.skip(f"no mount namespace can be made: {reason}")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    shell = f'set -e\n{MACHINES[machine]}\nexec "$0" "$@"'
    with alone():
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", shell, sys.executable, str(program), method],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    room = {"64 MB": "64", "1 MB": "1", "none": "None"}[machine]
    assert done.stdout.split() == ["shm:", room, "done"]


def users_of(inodes):
    """Processes that have any of these memory files mapped or open."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines = [line for line in (folder / "maps").read_text().splitlines() if "/memfd:aioxide" in line]
            numbers = {line.split()[4] for line in lines}
            for fd in (folder / "fd").iterdir():
                if "/memfd:aioxide" in os.readlink(fd):
                    numbers.add(str(os.stat(fd).st_ino))
        except OSError:
            continue
        if numbers & inodes:
            found.append(folder.name)
    return found


@kinds(OWN)
def test_no_shared_memory_is_left_after_the_parent_was_killed(tmp_path, pool, method):
    """Arrays of `shared`, values of `share`, arguments and results: in parent, workers and on the way."""
    before = set(os.listdir("/dev/shm"))
    with Program(tmp_path, "killed_with_shared_memory", pool, method) as program:
        ready, *numbers = program.line().split()
        inodes = set(numbers)
        assert ready == "ready"
        assert len(inodes) >= 4 and len(users_of(inodes)) >= 2
        assert not [name for name in set(os.listdir("/dev/shm")) - before if "aioxide" in name]
        program.kill()
        program.process.wait(10)
        program.assert_nothing_left()
    until(lambda: not users_of(inodes), lambda: f"memory is left with processes {users_of(inodes)}", 10)
