"""What `tests.cpython.runner` needs to know of uvloop's tests."""

from pathlib import Path

from tests.cpython import runner

from . import sdist

HERE = Path(__file__).parent
# Modules of the source distribution that aren't about an event loop.
OTHER = {
    "test_cython": "the loop's C interface, for code written in Cython",
    "test_fs_event": "libuv's file system events",
    "test_libuv_api": "libuv's handles",
    "test_sourcecode": "uvloop's own style checks",
    "test_testbase": "uvloop's own test helpers",
}


def modules() -> list[str]:
    """The test modules of the source distribution that are about an event loop."""
    found = sorted(path.stem for path in (sdist.folder() / "tests").glob("test_*.py"))
    return [name for name in found if name not in OTHER]


def options(**more) -> runner.Options:
    """`runner.Options` for this suite."""
    environment = runner.child_environment()
    paths = f"{HERE / 'shim'}:{sdist.folder() / 'path'}:{environment['PYTHONPATH']}"
    return runner.Options(
        child="tests.uvloop.child",
        exclusions=HERE / "exclusions.toml",
        environment={"PYTHONPATH": paths, "AIOXIDE_UVLOOP_SDIST": str(sdist.folder())},
        loopless=frozenset({"test_runner"}),  # its loops are made inside uvloop.run
        **more,
    )
