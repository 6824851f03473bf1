"""Is what lies in dist/ a release? Prints every reason why it is not, and fails if there is one.

usage: python -m release.check [FOLDER]      default: dist
"""

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from . import elf, licences, links, paths, project
from .finish import sums

RUSTC = "1.95.0"
# The newest glibc that a wheel may want.
GLIBC = (2, 28)

Problems = Iterator[str]


def output(*command: str) -> str:
    done = subprocess.run(command, cwd=project.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def address(urls: dict[str, str]) -> Problems:
    source = urls["Source"]
    if ".invalid" in source or not re.fullmatch(r"https://[\w.-]+(/[\w.-]+)+", source):
        yield f"pyproject.toml: {source} is a placeholder: put the project's address into [project.urls], for all four"
    for name, url in urls.items():
        if not url.startswith(source):
            yield f"pyproject.toml: the address {name} does not begin with Source"


def changelog(text: str, version: str) -> Problems:
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE):
        yield f"CHANGELOG.md: no heading '## [{version}] - DATE'; move what is under [Unreleased] there"


def history(version: str) -> Problems:
    if changed := output("git", "status", "--porcelain"):
        yield f"git: {len(changed.splitlines())} files are not committed"
    if f"v{version}" not in output("git", "tag", "--points-at", "HEAD").split():
        yield f"git: this commit is not tagged v{version}, which README's links in the release name"


def compiler() -> Problems:
    found = output("rustc", "--version")
    if not found.startswith(f"rustc {RUSTC} "):
        yield f"rustc: releases are built by {RUSTC}, and this is {found or 'none'}"


def crates() -> Problems:
    if wrong := licences.problem():
        yield wrong
    deny = project.ROOT / "target" / "tools" / "bin" / "cargo-deny"
    if not deny.exists():
        yield "there is no cargo-deny: make deny"
        return
    for what in ("licenses bans sources", "advisories"):
        done = subprocess.run(
            [deny, "check", *what.split()], cwd=project.ROOT, capture_output=True, text=True
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            yield f"cargo deny check {what}: {last}"


def is_old_enough(tags: str) -> bool:
    """Whether one of a wheel's platforms, as in its name, is of a glibc that is old enough, or of musl."""
    found = re.findall(r"manylinux_(\d+)_(\d+)_", tags)
    return "musllinux_" in tags or any((int(major), int(minor)) <= GLIBC for major, minor in found)


def wheel(path: Path) -> Problems:
    version = project.version()
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    info = f"aioxide-{version}.dist-info"
    for licence in ("MIT", "APACHE", "THIRD-PARTY"):
        if f"{info}/licenses/LICENSE-{licence}" not in files:
            yield f"{path.name}: there is no LICENSE-{licence} in it"
    if not any(name.startswith(f"{info}/sboms/") for name in files):
        yield f"{path.name}: there is no bill of materials in it"
    if left := links.relative(files[f"{info}/METADATA"].decode()):
        yield f"{path.name}: its description has relative links: {left}"
    for name, data in files.items():
        if found := paths.found_in(data):
            yield f"{path.name}: {name} names folders of the machine that built it: {found}"
        if name.endswith(".so") and not elf.is_stripped(data):
            yield f"{path.name}: {name} is not stripped"
    if not is_old_enough(path.name):
        yield f"{path.name}: it wants a newer glibc than {GLIBC[0]}.{GLIBC[1]}: LINKER=zig builds one that does not"


def files(folder: Path) -> Problems:
    version = project.version()
    wheels = sorted(folder.glob("*.whl"))
    for python in project.pythons():
        tag = f"cp{python.replace('.', '')}"
        # The machine that every release is for; wheels for others may lie beside it.
        mine = [path.name for path in wheels if f"-{version}-{tag}-{tag}-manylinux" in path.name]
        if not any(name.endswith("_x86_64.whl") for name in mine):
            yield f"{folder}: there is no wheel of {version} for CPython {python}: make wheels"
    for path in wheels:
        if not path.name.startswith(f"aioxide-{version}-"):
            yield f"{path.name}: it is of another version than {version}"
        else:
            yield from wheel(path)
    for name in (f"aioxide-{version}.tar.gz", f"aioxide-{version}.cyclonedx.json"):
        if not (folder / name).exists():
            yield f"{folder}: there is no {name}"
    listed = folder / "SHA256SUMS"
    if not listed.exists() or listed.read_text() != sums(folder):
        yield f"{folder}/SHA256SUMS does not say what is there"


def problems(folder: Path) -> Problems:
    """All reasons why this is no release."""
    version = project.version()
    yield from address(project.metadata()["urls"])  # type: ignore[arg-type]
    yield from changelog((project.ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    checks: list[Callable[[], Problems]] = [lambda: history(version), compiler, crates, lambda: files(folder)]
    for check in checks:
        yield from check()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else project.ROOT / "dist"
    found = list(problems(folder))
    for problem in found:
        print(problem)
    if found:
        raise SystemExit(f"aioxide: {len(found)} reasons why this is no release")
    print(f"aioxide {project.version()} can be released: {folder}")


if __name__ == "__main__":
    main()
