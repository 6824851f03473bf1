"""What the lints of the workspace refuse: clippy is shown a small crate with one fault of each kind."""

import json
import os
import shutil
import subprocess
import tomllib

import pytest

from .sources import ROOT

MANIFEST = """
[package]
name = "planted"
version = "0.1.0"
edition = "2024"
rust-version = "{rust_version}"

[lib]
path = "lib.rs"

[workspace]
{lints}
[lints]
workspace = true
"""

SOUND = """
/// # Safety
/// `at` can be read.
unsafe fn read(at: *const u8) -> u8 {
    // SAFETY: the caller says so.
    unsafe { *at }
}

pub fn first(bytes: &[u8; 2]) -> u8 {
    // SAFETY: a reference can be read.
    unsafe { read(bytes.as_ptr()) }
}
"""

# A fault, and the lint that must name it; E0133 is what `unsafe_op_in_unsafe_fn` is called when it is denied.
FAULTS = {
    "a private unsafe function that does not say what its caller must see to": (
        ("/// # Safety\n/// `at` can be read.\n", ""),
        "clippy::missing_safety_doc",
    ),
    "an unsafe block without its reason": (
        ("    // SAFETY: a reference can be read.\n", ""),
        "clippy::undocumented_unsafe_blocks",
    ),
    "an unsafe function whose body needs no unsafe block": (
        ("    // SAFETY: the caller says so.\n    unsafe { *at }\n", "    *at\n"),
        "E0133",
    ),
    "what the oldest Rust that we promise does not have": (
        ("bytes.as_ptr()", "bytes.as_ptr().wrapping_add(0_usize.strict_add(1))"),
        "clippy::incompatible_msrv",
    ),
    "an unwrap": (("bytes.as_ptr()", "bytes.first().unwrap()"), "clippy::unwrap_used"),
}

OLDEST = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]


def tables(prefix):
    """The tables of the workspace's Cargo.toml whose names begin with `prefix`, as text."""
    parts = (ROOT / "Cargo.toml").read_text().split("\n[")
    return "".join(f"[{part}\n" for part in parts[1:] if part.startswith(prefix))


def clippy(folder, source):
    """What clippy finds wrong, by the names of the lints, in a crate of this source under the workspace's rules."""
    (folder / "lib.rs").write_text(source)
    (folder / "Cargo.toml").write_text(MANIFEST.format(lints=tables("workspace.lints"), rust_version=OLDEST))
    shutil.copy(ROOT / "clippy.toml", folder)
    command = ["cargo", "clippy", "--quiet", "--offline", "--message-format=json"]
    environment = os.environ | {"CARGO_TARGET_DIR": str(folder / "target"), "RUSTFLAGS": ""}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    messages = [json.loads(line).get("message") or {} for line in ran.stdout.splitlines()]
    named = {message["code"]["code"] for message in messages if message.get("code")}
    assert bool(named) == (ran.returncode != 0), ran.stderr
    return named


@pytest.mark.parametrize("fault", FAULTS)
def test_clippy_refuses(fault, tmp_path):
    (right, wrong), lint = FAULTS[fault]
    assert right in SOUND
    assert clippy(tmp_path, SOUND.replace(right, wrong)) == {lint}


def test_clippy_passes_what_has_no_fault(tmp_path):
    assert clippy(tmp_path, SOUND) == set()


def test_every_crate_is_under_the_lints_of_the_workspace():
    for manifest in sorted((ROOT / "crates").glob("*/Cargo.toml")):
        assert tomllib.loads(manifest.read_text())["lints"] == {"workspace": True}, manifest
