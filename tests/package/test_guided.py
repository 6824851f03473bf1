"""`scripts/guided` where what a profile-guided build needs is there, lacking or of another version. All tools are
stand-ins.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COREUTILS = "bash env dirname basename sed grep ls rm mkdir tail tr printf cat".split()
# Each writes what it was called with, and the flags that it would hand on to rustc, without those of every build.
FLAGS = r"""printf %s "${CARGO_ENCODED_RUSTFLAGS:-}" | tr '\037' '\n' | grep -v '^--remap-path-prefix=' | tr '\n' ' '"""
RECORD = f'{{ flags=$({FLAGS}); echo "${{0##*/}} $* [${{flags% }}]" >>"$RECORD"; }}'
RUSTC = """
case "$*" in
  -vV) printf 'host: x86_64-unknown-linux-gnu\\nLLVM version: 22.1.2\\n' ;;
  *) echo "$LIBRARY" ;;
esac
"""


class Machine:
    """A clone with nothing but the script, and a PATH with nothing but what is put there."""

    def __init__(self, folder):
        self.clone, self.bin, self.record = folder / "clone", folder / "bin", folder / "record"
        self.library = folder / "rustlib" / "lib"
        self.cargo_home = folder / "cargo home"
        fetched = self.cargo_home / "registry" / "src" / "index"
        for made in (
            self.clone / "scripts",
            self.clone / ".venv" / "x" / "bin",
            self.bin,
            self.library,
            fetched,
        ):
            made.mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "guided", self.clone / "scripts")
        for name in COREUTILS:
            (self.bin / name).symlink_to(shutil.which(name))
        (self.library / "libprofiler_builtins-1.rlib").touch()
        self.program(self.bin / "rustc", RUSTC)
        self.program(self.clone / ".venv" / "x" / "bin" / "maturin", RECORD)
        self.program(self.clone / ".venv" / "x" / "bin" / "python", RECORD)

    def program(self, path, body):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
        path.chmod(0o755)

    def profdata(self, path, version):
        self.program(path, f'[ "$1" != --version ] && {RECORD} || echo "  LLVM version {version}"')

    def guided(self, mode, *arguments, **environment):
        environment |= {"PATH": str(self.bin), "RECORD": str(self.record), "LIBRARY": str(self.library)}
        environment.setdefault("CARGO_HOME", str(self.cargo_home))
        command = ["bash", self.clone / "scripts" / "guided", mode, ".venv/x", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    def calls(self):
        return self.record.read_text().splitlines() if self.record.exists() else []


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_without_the_tool_it_says_what_is_missing_and_how_to_get_it(machine):
    done = machine.guided("yes", "build")
    assert done.returncode == 1
    assert "no llvm-profdata of LLVM 22" in done.stderr
    assert "rustup component add llvm-tools" in done.stderr and "apt install llvm-22" in done.stderr
    assert machine.calls() == []


def test_auto_builds_without_a_profile_and_does_not_hide_it(machine):
    done = machine.guided("auto", "build", "--release")
    assert done.returncode == 0
    assert machine.calls() == ["maturin build --release []"]
    assert "apt install llvm-22" in done.stderr
    assert "NOT profile-guided" in done.stderr.splitlines()[-1]


def test_auto_fails_where_the_build_fails(machine):
    machine.program(machine.clone / ".venv" / "x" / "bin" / "maturin", "exit 7")
    assert machine.guided("auto", "build").returncode == 7


def test_a_tool_of_another_llvm_is_none(machine):
    machine.profdata(machine.bin / "llvm-profdata", "14.0.6")
    machine.profdata(machine.bin / "llvm-profdata-22", "21.1.0")
    assert machine.guided("yes", "build").returncode == 1
    machine.profdata(machine.bin / "llvm-profdata-22", "22.1.8")
    assert machine.guided("yes", "build").returncode == 0


def test_a_rustc_without_the_profiler_is_told_apart(machine):
    machine.profdata(machine.bin / "llvm-profdata", "22.1.8")
    (machine.library / "libprofiler_builtins-1.rlib").unlink()
    done = machine.guided("yes", "build")
    assert done.returncode == 1 and "no profiler_builtins" in done.stderr


def test_no_asks_for_nothing(machine):
    (machine.bin / "rustc").unlink()
    done = machine.guided("no", "develop", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.calls() == ["maturin develop --quiet []"]


@pytest.mark.parametrize("mode", ["no", "auto"])
def test_no_build_names_a_folder_of_this_machine(machine, mode):
    """Each path is one flag, though it has a space."""
    maturin = machine.clone / ".venv" / "x" / "bin" / "maturin"
    machine.program(maturin, r"""printf %s "$CARGO_ENCODED_RUSTFLAGS" | tr '\037' '\n' >>"$RECORD" """)
    assert machine.guided(mode, "build", RUSTFLAGS="-Cone -Ctwo").returncode == 0
    assert machine.calls() == [
        "-Cone",
        "-Ctwo",
        f"--remap-path-prefix={machine.cargo_home}/registry/src/index=crates",
        f"--remap-path-prefix={machine.clone}=.",
    ]


def test_crates_are_fetched_first_where_none_are(machine, tmp_path):
    """Else the folder that they will be in would have no name yet."""
    empty = tmp_path / "empty"
    machine.program(machine.bin / "cargo", f'{RECORD}\nmkdir -p "$CARGO_HOME/registry/src/other"')
    assert machine.guided("no", "build", CARGO_HOME=str(empty)).returncode == 0
    assert machine.calls() == ["cargo fetch --quiet --locked []", "maturin build []"]


def test_another_mode_is_refused(machine):
    done = machine.guided("Yes", "build")
    assert done.returncode == 2 and "yes, no or auto" in done.stderr


@pytest.mark.parametrize("where", ["component", "environment variable"])
def test_the_steps_in_their_order(machine, where):
    tool = machine.library.parent / "bin" / "llvm-profdata"
    if where == "environment variable":
        tool = machine.clone / "mine"
    machine.profdata(tool, "22.1.8")
    environment = {"LLVM_PROFDATA": str(tool)} if where == "environment variable" else {}
    done = machine.guided("yes", "build", "--out", "dist", RUSTFLAGS="-Cmine", **environment)
    assert done.returncode == 0, done.stderr
    folder = machine.clone / "target" / "pgo" / "x"
    instrumented, unpacked, trained, merged, built = machine.calls()
    host = "--target x86_64-unknown-linux-gnu"
    assert instrumented.startswith("maturin build") and host in instrumented
    assert instrumented.endswith(f"[-Cmine -Cprofile-generate={folder}/raw]")
    assert unpacked.startswith("python -m zipfile -e") and trained.startswith("python -m benches train")
    assert f"merge --output {folder}/aioxide.profdata {folder}/raw" in merged
    assert built == f"maturin build --out dist {host} [-Cmine -Cprofile-use={folder}/aioxide.profdata]"


def test_a_training_that_fails_ends_it(machine):
    machine.profdata(machine.bin / "llvm-profdata", "22.1.8")
    python = machine.clone / ".venv" / "x" / "bin" / "python"
    machine.program(python, f"{RECORD}\n[ $2 != benches ] || {{ echo PROBLEM; exit 1; }}")
    done = machine.guided("yes", "build", "--out", "dist")
    assert done.returncode == 1
    assert "PROBLEM" in done.stderr and "the training run failed" in done.stderr
    assert [call for call in machine.calls() if "profile-use" in call] == []


def test_the_training_says_that_it_is_for_an_instrumented_build():
    import sys

    environment = {k: v for k, v in os.environ.items() if k != "LLVM_PROFILE_FILE"}
    done = subprocess.run(
        [sys.executable, "-m", "benches", "train"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "LLVM_PROFILE_FILE" in done.stderr
