"""Turns what maturin has built into what is uploaded.

usage: python -m release.finish FILE FOLDER [--with FOLDER]       FILE is a wheel or a source distribution

Into FOLDER go the file itself, with
* the extension stripped, its debug information apart in `debug/` (gdb finds it in the extension's folder),
* README's relative links made absolute (`release/links.py`): to the files of this release, at pyproject.toml's address,
* no path of this machine: one that is left over is an error,
the bill of materials that maturin wrote into the wheel, as a file of its own, and SHA256SUMS of all that is there.
`--with` puts more files into a source distribution.
"""

import argparse
import contextlib
import functools
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from . import links, paths, project
from .archive import copy_sdist, copy_wheel


@functools.cache
def objcopy() -> tuple[str, dict[str, str]]:
    """A tool that takes debug information out of extensions for any machine, and its environment.

    rustc brings LLVM's along, which needs the library beside rustc; others know their own machine's files at least.
    """
    asked = ["rustc", "--print", "sysroot", "--print", "target-libdir"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    sysroot, libraries = map(Path, done.stdout.split("\n")[:2])
    bundled = libraries.parent / "bin" / "rust-objcopy"
    for tool in (str(bundled), "llvm-objcopy", "objcopy"):
        environment = os.environ | ({"LD_LIBRARY_PATH": str(sysroot / "lib")} if tool == str(bundled) else {})
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([tool, "--version"], env=environment, capture_output=True).returncode == 0:
                return tool, environment
    raise SystemExit("aioxide: no objcopy is here: on Debian, apt install binutils")


def stripped(extension: bytes, debug: Path) -> bytes:
    """An extension without debug information, which goes to the file `debug`."""
    tool, environment = objcopy()
    debug.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "extension.so"
        bare = Path(folder) / "stripped.so"
        whole.write_bytes(extension)
        subprocess.run([tool, "--only-keep-debug", whole, debug], env=environment, check=True)
        link = f"--add-gnu-debuglink={debug}"
        subprocess.run([tool, "--strip-all", link, whole, bare], env=environment, check=True)
        return bare.read_bytes()


def sums(folder: Path) -> str:
    """What SHA256SUMS says of a folder, as sha256sum writes it."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != "SHA256SUMS"]
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def finish(file: Path, folder: Path, more: Path | None = None) -> Path:
    """Finish one file; where it is afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    leaks: dict[str, list[str]] = {}

    def change(name: str, data: bytes) -> bytes:
        if name.endswith(".so"):
            data = stripped(data, folder / "debug" / f"{file.stem}.debug")
        elif name.endswith((".dist-info/METADATA", "/PKG-INFO")):
            data = links.absolute(data.decode(), project.repository(), project.version()).encode()
        elif ".dist-info/sboms/" in name:
            data = data.replace(f"file://{project.ROOT}".encode(), b"file://.")
            (folder / f"aioxide-{project.version()}.cyclonedx.json").write_bytes(data)
        if found := paths.found_in(data):
            leaks[name] = found
        return data

    is_sdist = file.name.endswith(".tar.gz")
    copy = functools.partial(copy_sdist, more=more) if is_sdist else copy_wheel
    copy(file, target, change)
    if leaks:
        target.unlink()
        raise SystemExit(f"aioxide: {file.name} names folders of this machine: {leaks}")
    (folder / "SHA256SUMS").write_text(sums(folder))
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--with", type=Path, dest="more")
    arguments = parser.parse_args()
    print(finish(arguments.file, arguments.folder, arguments.more))
