"""`scripts/wheels`: what it does of each Python and for which machine. All tools are stand-ins."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from release import smoke

ROOT = Path(__file__).parents[2]
COREUTILS = "bash dirname ls head sed mkdir touch".split()

# An interpreter: it says which it is and where its environment would be, and records what else it is called with.
PYTHON = """
case "$*" in
  *.venv*) echo ".venv/{version}/bin/python" ;;
  -c*) echo {version} ;;
  *) echo "$0 $*" >>"$RECORD" ;;
esac
"""
MAKE = """
for each; do [[ $each != PYTHON=* ]] || version=${each##*python}; done
tag=cp${version/./}
mkdir -p dist
echo "make $version ${TARGET:-}" >>"$RECORD"
touch "dist/aioxide-1-$tag-$tag-${PLATFORM:-manylinux_2_28_x86_64}.whl"
"""


class Machine:
    def __init__(self, folder):
        self.clone, self.record = folder / "clone", folder / "record"
        (self.clone / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "wheels", self.clone / "scripts")
        for name in COREUTILS:
            self.program(folder / "bin" / name, f'exec {shutil.which(name)} "$@"')
        self.path = folder / "bin"
        self.program(self.path / "rustc", "echo 'host: x86_64-unknown-linux-gnu'")
        self.program(self.path / "make", MAKE)
        find = f"python={self.clone}/pythons/python$1\n"
        find += '[ -x "$python" ] && echo "$python" || { echo "no $1" >&2; false; }'
        self.program(self.clone / "scripts" / "find-python", find)
        self.program(
            self.clone / "scripts" / "foreign-python", '[ "$2" != 3.12 ] && echo "/foreign/$1-$2" || exit 3'
        )
        for version in ("3.12", "3.14"):
            for path in (f"pythons/python{version}", f".venv/{version}/bin/python"):
                self.program(self.clone / path, PYTHON.format(version=version))

    def program(self, path, body):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
        path.chmod(0o755)

    def wheels(self, *versions, **variables):
        done = subprocess.run(
            [self.clone / "scripts" / "wheels", *versions],
            env={"PATH": str(self.path), "RECORD": str(self.record), **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )
        record = self.record.read_text() if self.record.exists() else ""
        return done, record.replace(f"{self.clone}/", "").splitlines()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_each_is_tried_by_the_python_that_it_is_for(machine):
    done, record = machine.wheels("3.12", "3.14")
    assert (done.returncode, done.stderr) == (0, "")
    assert record == [
        "make 3.12 ",
        "pythons/python3.12 release/smoke.py dist/aioxide-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "make 3.14 ",
        "pythons/python3.14 release/smoke.py dist/aioxide-1-cp314-cp314-manylinux_2_28_x86_64.whl",
    ]


def test_nothing_is_built_where_a_python_is_missing(machine):
    done, record = machine.wheels("3.11", "3.12", "3.13")
    assert done.returncode == 1 and done.stderr == "no 3.11\nno 3.13\n"
    assert record == []


def test_one_that_does_not_work_ends_it(machine):
    machine.program(
        machine.clone / "pythons" / "python3.12", 'case "$*" in -c*) echo 3.12 ;; *) exit 1 ;; esac'
    )
    done, record = machine.wheels("3.12", "3.14")
    assert done.returncode == 1
    assert record == ["make 3.12 "]


def test_for_another_machine_by_a_foreign_python_where_there_is_one(machine):
    target = "aarch64-unknown-linux-gnu"
    done, record = machine.wheels("3.12", "3.14", TARGET=target, PLATFORM="manylinux_2_28_aarch64")
    assert done.returncode == 0
    assert done.stderr == (
        "aioxide: NOT TRIED: aioxide-1-cp312-cp312-manylinux_2_28_aarch64.whl: "
        "there is no CPython 3.12 for aarch64 to be had\n"
    )
    name = "aioxide-1-cp314-cp314-manylinux_2_28_aarch64.whl"
    assert record == [
        f"make 3.12 {target}",
        f"make 3.14 {target}",
        f".venv/3.14/bin/python release/smoke.py dist/{name} --foreign /foreign/aarch64-3.14",
    ]


def test_a_foreign_python_that_could_not_be_made_ends_it(machine):
    machine.program(machine.clone / "scripts" / "foreign-python", "exit 1")
    target = "aarch64-unknown-linux-gnu"
    done, record = machine.wheels("3.14", TARGET=target, PLATFORM="manylinux_2_28_aarch64")
    assert done.returncode == 1 and record == [f"make 3.14 {target}"]


def test_musl_is_told_to_be_untried(machine):
    done, record = machine.wheels("3.14", TARGET="x86_64-unknown-linux-musl", PLATFORM="musllinux_1_2_x86_64")
    assert done.returncode == 0 and "NOT TRIED: aioxide-1-cp314-cp314-musllinux" in done.stderr
    assert record == ["make 3.14 x86_64-unknown-linux-musl"]


# ---------------------------------------------------------------------------------------------------------------- smoke


def foreign(path, machine, version):
    """Stands in for a CPython under qemu."""
    path.write_text(f"#!{shutil.which('bash')}\necho {machine} {version}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("machine", "version", "fits"),
    [("aarch64", "314", True), ("riscv64", "314", False), ("aarch64", "313", False)],
)
def test_pip_installs_for_a_foreign_python_what_is_for_it(tmp_path, machine, version, fits):
    wheel = tmp_path / "some-1-cp314-cp314-manylinux_2_28_aarch64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some.py", "")
        archive.writestr("some-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: some\nVersion: 1\n")
        tag = "cp314-cp314-manylinux_2_28_aarch64"
        archive.writestr(
            "some-1.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n"
        )
        archive.writestr("some-1.dist-info/RECORD", "")
    python, site = foreign(tmp_path / "python", machine, version), tmp_path / "site"
    if fits:
        smoke.install_foreign(wheel, python, site)
        assert (site / "some.py").exists()
    else:
        with pytest.raises(SystemExit, match="could not be installed"):
            smoke.install_foreign(wheel, python, site)
