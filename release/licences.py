"""The licences of the crates that are linked into the extension: LICENSE-THIRD-PARTY, which every wheel carries.

usage: python -m release.licences            write the file
       python -m release.licences --check    fail where it is not what would be written

Their texts come from the sources of the crates, as cargo has fetched them.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .project import ROOT

FILE = ROOT / "LICENSE-THIRD-PARTY"
TARGETS = [f"{machine}-unknown-linux-{libc}" for machine in ("x86_64", "aarch64") for libc in ("gnu", "musl")]
NAMES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")

HEAD = """\
aioxide's extension module contains, beside aioxide's own code, the crates listed here, under the licences that follow,
and Rust's standard library, which is the work of the Rust project's contributors (https://github.com/rust-lang/rust)
under MIT or Apache-2.0, as you like; its COPYRIGHT file names what it contains of others.
"""


def linked() -> Iterator[dict[str, Any]]:
    """The packages, as cargo describes them, that end up in the extension on a machine that it is built for."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--manifest-path", ROOT / "Cargo.toml"]
    command += [f"--filter-platform={target}" for target in TARGETS]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=True)
    metadata = json.loads(done.stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    to_do = [name for name in metadata["workspace_members"] if packages[name]["name"] == "aioxide"]
    seen = set(to_do)
    while to_do:
        for dependency in nodes[to_do.pop()]["deps"]:
            # Kind null is what is linked; the others are for building and for tests.
            is_linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_linked and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                to_do.append(dependency["pkg"])
    for name in sorted(seen - set(metadata["workspace_members"]), key=lambda name: packages[name]["name"]):
        yield packages[name]


def texts(package: dict[str, Any]) -> list[str]:
    """The licences of a crate: the files in its root folder that are called so."""
    folder = Path(package["manifest_path"]).parent
    files = sorted(
        path for path in folder.iterdir() if path.name.upper().startswith(NAMES) and path.is_file()
    )
    if not files:
        raise SystemExit(
            f"aioxide: {package['name']} has no licence file in {folder.name}: add its text by hand"
        )
    return ["\n".join(line.rstrip() for line in path.read_text().strip().splitlines()) for path in files]


def written() -> str:
    """What LICENSE-THIRD-PARTY is to say."""
    rows, holders = [], {}
    for package in linked():
        title = f"{package['name']} {package['version']}"
        rows.append(f"{title}: {package['license']}, {package['repository']}")
        for text in texts(package):
            holders.setdefault(text, []).append(title)
    line = "-" * 100
    parts = [
        HEAD,
        "\n".join(rows),
        *(f"{line}\n{', '.join(who)}\n{line}\n\n{text}" for text, who in holders.items()),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def problem() -> str | None:
    """What is wrong with the file, and what to do."""
    if FILE.exists() and FILE.read_text(encoding="utf-8") == written():
        return None
    return "LICENSE-THIRD-PARTY is not up to date: python -m release.licences"


def main() -> None:
    if sys.argv[1:] != ["--check"]:
        FILE.write_text(written(), encoding="utf-8")
    elif wrong := problem():
        raise SystemExit(f"aioxide: {wrong}")


if __name__ == "__main__":
    main()
