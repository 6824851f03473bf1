"""The build backend of the source distribution: maturin, behind a look at the machine.

pip comes here where there is no wheel. On a machine that aioxide does not run on, a compiler's errors would be the
answer; one sentence is, before anything is fetched or built. That is why pyproject.toml requires nothing: maturin is
asked for here.
"""

from __future__ import annotations

import platform
import sys
import sysconfig

NEWEST = (3, 15)
OLDEST_RUST = (1, 88)
MATURIN = "maturin>=1.9,<2"

SUPPORTED = "Linux with CPython 3.11 to 3.15"
MARKER = "aioxide; sys_platform == 'linux' and platform_python_implementation == 'CPython'"
ADVICE = f'write "{MARKER}" in the dependencies of your project'
# No environment marker tells a free-threaded build from another.
ADVICE_FREE_THREADED = (
    "no environment marker names such a build, so make aioxide an optional dependency of your project"
)
INSTEAD = "and let the program use asyncio's own loop where aioxide cannot be imported"

SYSTEMS = {"darwin": "macOS", "win32": "Windows", "cygwin": "Windows"}


def unsupported() -> str | None:
    """One sentence, where aioxide does not run on this interpreter."""
    advice = ADVICE
    if sys.platform != "linux":
        here = SYSTEMS.get(sys.platform, sys.platform)
    elif platform.python_implementation() != "CPython":
        here = platform.python_implementation()
    elif sysconfig.get_config_var("Py_GIL_DISABLED"):
        here, advice = "a free-threaded build", ADVICE_FREE_THREADED
    elif sys.version_info[:2] > NEWEST:
        here = f"CPython {sys.version_info[0]}.{sys.version_info[1]}"
        advice = ADVICE.replace("'CPython'", f"'CPython' and python_version < '3.{NEWEST[1] + 1}'")
    else:
        return None
    return f"aioxide runs on {SUPPORTED}, not on {here}: {advice}, {INSTEAD}."


def unbuildable() -> str | None:
    """One sentence, where aioxide would run but there is nothing to build it with."""
    lacking = _lacking_rust()
    if lacking is None:
        return None
    here = f"{platform.machine()}, {platform.libc_ver()[0] or 'not glibc'}"
    rust = f"Rust {OLDEST_RUST[0]}.{OLDEST_RUST[1]}"
    return (
        f"aioxide has no wheel for this machine ({here}), and to build it takes {rust} or newer, a C linker and the "
        f"headers of Python: {lacking}."
    )


def _lacking_rust() -> str | None:
    import shutil
    import subprocess

    if shutil.which("cargo") is None:
        return "there is no cargo here"
    words = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=False).stdout.split()
    # As in "cargo 1.95.0 (f2d3ce0bd 2026-03-21)".
    version = words[1] if len(words) > 1 else "of no version"
    try:
        found = tuple(int(part) for part in version.split(".")[:2])
    except ValueError:
        found = (0, 0)
    return f"cargo is {version} here" if found < OLDEST_RUST else None


def check() -> None:
    """End the build with one sentence where it would come to nothing."""
    if problem := unsupported() or unbuildable():
        raise SystemExit(problem)


def get_requires_for_build_wheel(config_settings: object = None) -> list[str]:
    check()
    return [MATURIN]


get_requires_for_build_editable = get_requires_for_build_wheel


def get_requires_for_build_sdist(config_settings: object = None) -> list[str]:
    return [MATURIN]


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    check()
    import maturin

    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):  # type: ignore[no-untyped-def]
    check()
    import maturin

    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory, config_settings=None):  # type: ignore[no-untyped-def]
    import maturin

    return maturin.build_sdist(sdist_directory, config_settings)


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):  # type: ignore[no-untyped-def]
    check()
    import maturin

    return maturin.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel
