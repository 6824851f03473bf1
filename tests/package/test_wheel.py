"""The wheel that `make wheel` builds: what is in it, and that it works where only it is installed."""

import fcntl
import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from release import elf, finish, links, paths, project
from tests.support.packages import need

ROOT = Path(__file__).parents[2]
# Where `make` has cargo build for this interpreter: nothing is compiled that `make build` has compiled.
IDENTITY = f"{sys.version_info.major}.{sys.version_info.minor}{sys.abiflags}"

# As `make wheel` does, but for the linker (zig) and the profile.
BUILD = (
    ROOT / "scripts" / "guided",
    "no",
    os.path.relpath(sys.prefix, ROOT),
    *"build --release --quiet --locked".split(),
)

PROGRAM = """
import multiprocessing, sys
import aioxide

def where():
    return sys.modules["_aioxide_worker"].__file__

if __name__ == "__main__":
    print(aioxide.__file__)
    for method in ("spawn", "forkserver"):
        with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            print(pool.submit(where).result(60))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The finished wheel: made once, by whichever of pytest's processes comes first."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (base / "wheel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = base / "wheel" / "dist"
        if not list(made.glob("*.whl")):
            build(base / "wheel")
    [path] = made.glob("*.whl")
    return path


def build(folder):
    done = subprocess.run(
        [*BUILD, "--out", folder, "--interpreter", sys.executable],
        cwd=ROOT,
        env=os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target" / IDENTITY)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("*.whl")
    finish.finish(path, folder / "dist")


def test_the_wheel_holds_both_packages_and_one_extension(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "aioxide",
        "_aioxide_worker",
    }
    sources = [path.relative_to(ROOT / "python") for path in (ROOT / "python").rglob("*.py*")]
    ours = {str(path) for path in sources if path.suffix in (".py", ".pyi")}
    assert ours <= set(names) and len(ours) > 20
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert [name for name in names if name.endswith(".so")] == [f"aioxide/_aioxide{suffix}"]


def test_the_extension_is_stripped_and_says_nothing_of_this_machine(wheel):
    """Its debug information is apart: it names the extension's build, and our sources from the project's root."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    [extension] = [data for name, data in files.items() if name.endswith(".so")]
    [debug] = (wheel.parent / "debug").iterdir()
    assert elf.is_stripped(extension) and ".debug_line" in elf.sections(debug.read_bytes())
    assert ".gnu_debuglink" in elf.sections(extension)
    assert debug.name.encode() in extension  # by which gdb finds it
    assert {name: found for name, data in files.items() if (found := paths.found_in(data))} == {}
    # Not for want of paths: a panic says where.
    assert b"crates/aioxide/src/" in extension
    assert paths.found_in(debug.read_bytes()) == []


def test_the_metadata_is_what_a_package_index_shows(wheel):
    [distribution] = importlib.metadata.distributions(path=[str(wheel)])
    said = distribution.metadata
    assert (said["Author"], said["License-Expression"]) == ("The aioxide project", "MIT OR Apache-2.0")
    assert said["Version"] == project.version() and said["Requires-Python"] == ">=3.11"
    assert "uvloop" in said["Keywords"] and "Typing :: Typed" in said.get_all("Classifier")
    urls = dict(line.split(", ") for line in said.get_all("Project-URL"))
    assert urls == project.metadata()["urls"]
    assert links.relative(said.get_payload()) == [] and f"{project.repository()}/blob/v" in said.get_payload()
    licences = {"LICENSE-MIT", "LICENSE-APACHE", "LICENSE-THIRD-PARTY"}
    assert set(said.get_all("License-File")) == licences


def test_the_wheel_carries_the_licences_and_a_bill_of_materials(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    info = f"aioxide-{project.version()}.dist-info"
    for name in ("LICENSE-MIT", "LICENSE-APACHE", "LICENSE-THIRD-PARTY"):
        assert files[f"{info}/licenses/{name}"] == (ROOT / name).read_bytes()
    [bill] = [data for name, data in files.items() if name.startswith(f"{info}/sboms/")]
    parts = {part["name"] for part in json.loads(bill)["components"]}
    assert {"rustix", "libc", "memchr", "pyo3-ffi"} <= parts
    assert (wheel.parent / f"aioxide-{project.version()}.cyclonedx.json").read_bytes() == bill
    assert f"  {wheel.name}\n" in (wheel.parent / "SHA256SUMS").read_text()


def test_it_works_in_an_environment_with_nothing_else(wheel):
    done = subprocess.run(
        [sys.executable, ROOT / "release" / "smoke.py", wheel], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"aioxide {project.version()} works on ")


def test_a_process_pool_works_where_only_the_wheel_is(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    packages = ("aioxide", "_aioxide_worker", "_aioxide_worker")
    assert done.stdout.split() == [str(tmp_path / "site" / name / "__init__.py") for name in packages]


# What somebody would freeze: pools by every start method, and what install() puts in their place.
FROZEN = """
import asyncio, multiprocessing, sys
import aioxide

class Custom(Exception):
    pass

def square(number):
    return number * number

def fail():
    raise Custom("from the worker")

def loop_here():
    loop = asyncio.new_event_loop()
    loop.close()
    return type(loop).__name__

async def main(context):
    loop = asyncio.get_running_loop()
    with aioxide.ProcessPoolExecutor(1, context) as pool:
        error = pool.submit(fail).exception(60)
        return await asyncio.to_thread(square, 3), await loop.run_in_executor(pool, square, 4), type(error) is Custom

if __name__ == "__main__":
    multiprocessing.freeze_support()
    for method in sys.argv[1:]:
        context = multiprocessing.get_context(method)
        print(method, *aioxide.run(main(context)), flush=True)
    aioxide.install(namespace=True, replace_uvloop=True)
    import concurrent.futures
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        print(type(pool).__module__, pool.submit(loop_here).result(60), aioxide.__version__, sys.frozen)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        print(type(pool).__module__, memoryview(aioxide.shared.buffer(8)).nbytes, aioxide.ClusterExecutor.__name__)
"""
# What is installed for other tests, and would be frozen with it because something imports it if it is there.
NOT_FROZEN = "numpy distributed dask cloudpickle cryptography IPython pytest _pytest uvloop tkinter".split()
FREEZERS = {
    "PyInstaller": "--onedir --log-level=WARN".split() + [f"--exclude-module={name}" for name in NOT_FROZEN],
    "cx_Freeze": f"build_exe --build-exe=dist/frozen --silent --excludes={','.join(NOT_FROZEN)} --script".split(),
}


@pytest.mark.by_version(
    sys.version_info[:2] != (3, 13), "freezers are tried on one Python, which has a shared library"
)
@pytest.mark.parametrize("freezer", FREEZERS)
def test_a_frozen_program_has_all_that_it_needs(wheel, tmp_path, freezer):
    """Of what is installed from the wheel: a freezer must not see that this checkout is installed for development."""
    need(freezer, "tests/package/requirements.txt")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "frozen.py").write_text(FROZEN)
    # A fork server in a program that cx_Freeze 8.7 made lacks the script's functions: findings/cx_freeze_forkserver.sh.
    methods = ["spawn", "fork"] if freezer == "cx_Freeze" else ["spawn", "fork", "forkserver"]
    freeze = [sys.executable, "-m", freezer, *FREEZERS[freezer], "frozen.py"]
    for command in (freeze, [tmp_path / "dist" / "frozen" / "frozen", *methods]):
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    *pools, installed, threads = done.stdout.splitlines()
    assert pools == [f"{method} 9 16 True" for method in methods]
    assert installed.startswith("aioxide EventLoop ") and installed.endswith(" True")
    assert threads == "aioxide 8 ClusterExecutor"
