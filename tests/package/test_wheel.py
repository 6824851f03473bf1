"""The wheel that `make wheel` builds: what is in it, and that it works where only it is installed."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where `make` has cargo build for this interpreter: nothing is compiled that `make build` has compiled.
IDENTITY = f"{sys.version_info.major}.{sys.version_info.minor}{sys.abiflags}"

MATURIN = (Path(sys.executable).with_name("maturin"), "build", "--release", "--quiet")

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
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [*MATURIN, "--out", folder, "--interpreter", sys.executable],
        cwd=ROOT,
        env=os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target" / IDENTITY)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [path] = folder.iterdir()
    return path


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
