"""The source distribution: what is in it, and that the one with all crates inside asks for no network."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from release import links, project

ROOT = Path(__file__).parents[2]
NAME = f"aioxide-{project.version()}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder in which `make sdist VENDOR=yes` leaves what it makes."""
    folder = tmp_path_factory.mktemp("sdist")
    done = subprocess.run(
        [ROOT / "scripts" / "sdist", os.path.relpath(sys.prefix, ROOT)],
        env=os.environ | {"OUT": str(folder), "VENDOR": "yes"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_it_has_what_a_build_needs_and_what_the_licences_ask_for(made):
    with tarfile.open(made / f"{NAME}.tar.gz") as sdist:
        names = {name.removeprefix(f"{NAME}/") for name in sdist.getnames()}
        described = sdist.extractfile(f"{NAME}/PKG-INFO").read().decode()
    wanted = "Cargo.lock Cargo.toml pyproject.toml README.md LICENSE-MIT LICENSE-APACHE LICENSE-THIRD-PARTY"
    assert set(wanted.split()) <= names
    assert {"release/backend/aioxide_backend.py", "python/aioxide/py.typed"} <= names
    sources = {str(path.relative_to(ROOT)) for path in ROOT.glob("crates/*/src/**/*.rs")}
    assert sources <= names and len(sources) > 100
    # Nothing that a build leaves about, and no crate of others.
    assert not [name for name in names if name.endswith(".so") or name.startswith(("target/", "vendor/"))]
    assert links.relative(described) == [] and f"Version: {project.version()}\n" in described


def test_the_backend_in_it_is_the_one_that_pip_asks(made, tmp_path):
    with tarfile.open(made / f"{NAME}.tar.gz") as sdist:
        sdist.extractall(tmp_path, filter="data")
    program = (
        "import sys, tomllib; sys.platform = 'darwin'\n"
        "system = tomllib.load(open('pyproject.toml', 'rb'))['build-system']\n"
        "sys.path[:0] = system['backend-path']\n"
        "__import__(system['build-backend']).get_requires_for_build_wheel()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / NAME, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and done.stderr.startswith("aioxide runs on Linux")


def test_the_one_with_all_crates_inside_needs_no_network(made, tmp_path):
    """cargo finds all that the build needs, with an empty home and without a network."""
    with tarfile.open(made / "vendored" / f"{NAME}.tar.gz") as sdist:
        sdist.extractall(tmp_path, filter="data")
    metadata = "cargo metadata --format-version=1 --locked --offline".split()
    environment = os.environ | {"CARGO_HOME": str(tmp_path / "empty"), "CARGO_NET_OFFLINE": "true"}
    done = subprocess.run(
        metadata, cwd=tmp_path / NAME, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/{NAME}/vendor/rustix-" in done.stdout
    # As it must, where they are not: else the test would say nothing.
    (tmp_path / NAME / ".cargo" / "config.toml").unlink()
    done = subprocess.run(
        metadata, cwd=tmp_path / NAME, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
