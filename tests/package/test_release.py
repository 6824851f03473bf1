"""`release/`: what finishes the files of a release, and what looks whether they are one."""

import base64
import hashlib
import io
import struct
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from release import archive, check, elf, finish, licences, links, paths, project

PAGE = """
[docs](docs/a.md#part), [web](https://example.com), [here](#part), ![chart](docs/chart.png), `[code](x.md)`
[![badge](docs/b.svg)](LICENSE-MIT) <img src="docs/c.svg" alt=""> <a href="./docs/d.md">d</a>

```python
table[1](argument)
```

[e]: docs/e.md
"""


def test_links_to_files_are_told_from_others():
    targets = "docs/a.md#part docs/chart.png docs/b.svg LICENSE-MIT docs/c.svg ./docs/d.md docs/e.md"
    assert links.relative(PAGE) == targets.split()


def test_links_become_absolute_and_nothing_else_changes():
    page = links.absolute(PAGE, "https://host/us/it", "1.2.3")
    assert links.relative(page) == []
    for link in (
        "[docs](https://host/us/it/blob/v1.2.3/docs/a.md#part)",
        "![chart](https://host/us/it/raw/v1.2.3/docs/chart.png)",
        "[![badge](https://host/us/it/raw/v1.2.3/docs/b.svg)](https://host/us/it/blob/v1.2.3/LICENSE-MIT)",
        '<a href="https://host/us/it/blob/v1.2.3/docs/d.md">',
        "[e]: https://host/us/it/blob/v1.2.3/docs/e.md",
    ):
        assert link in page
    assert page.replace("https://host/us/it/blob/v1.2.3/", "").replace(
        "https://host/us/it/raw/v1.2.3/", ""
    ) == PAGE.replace("./docs/d.md", "docs/d.md")


def test_the_links_of_our_own_page_are_files():
    for name in ("README.md", "README.zh-CN.md"):
        if (project.ROOT / name).exists():
            for target in links.relative((project.ROOT / name).read_text(encoding="utf-8")):
                assert (project.ROOT / target.partition("#")[0]).exists(), f"{name}: {target}"


# ------------------------------------------------------------------------------------------------------------- files


def record_of(path):
    with zipfile.ZipFile(path) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith("RECORD")]
        return name, wheel.read(name).decode().splitlines(), {n: wheel.read(n) for n in wheel.namelist()}


def write_wheel(path, files):
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)


INFO = f"aioxide-{project.version()}.dist-info"


def test_a_copied_wheel_has_the_record_of_its_files(tmp_path):
    write_wheel(tmp_path / "a.whl", {"one.py": "1", "two.py": "2", f"{INFO}/RECORD": "stale"})
    archive.copy_wheel(
        tmp_path / "a.whl", tmp_path / "b.whl", lambda name, data: data * 3 if "two" in name else data
    )
    name, lines, files = record_of(tmp_path / "b.whl")
    assert files["one.py"] == b"1" and files["two.py"] == b"222" and len(lines) == 3
    for line in lines:
        file, digest, size = line.split(",")
        if file == name:
            assert (digest, size) == ("", "")
            continue
        right = base64.urlsafe_b64encode(hashlib.sha256(files[file]).digest()).rstrip(b"=").decode()
        assert (digest, size) == (f"sha256={right}", str(len(files[file])))


def test_a_copied_sdist_can_have_more_in_it(tmp_path):
    source = tmp_path / "aioxide-1.tar.gz"
    with tarfile.open(source, "w:gz") as sdist:
        member = tarfile.TarInfo("aioxide-1/a.txt")
        member.size = 3
        sdist.addfile(member, io.BytesIO(b"old"))
    (tmp_path / "more" / "vendor").mkdir(parents=True)
    (tmp_path / "more" / "vendor" / "lib.rs").write_text("")
    target = tmp_path / "copy.tar.gz"
    archive.copy_sdist(source, target, lambda name, data: data + b" and new", tmp_path / "more")
    with tarfile.open(target) as sdist:
        assert sdist.extractfile("aioxide-1/a.txt").read() == b"old and new"
        assert "aioxide-1/vendor/lib.rs" in sdist.getnames()
        assert {member.uname for member in sdist} == {""}


@pytest.mark.parametrize("folder", [str(Path.home()), str(project.ROOT), ".cargo/registry"])
def test_a_file_that_names_a_folder_of_this_machine_is_no_release(tmp_path, folder):
    assert paths.found_in(f"\0{folder}/src\0".encode())
    assert paths.found_in(b"\0/rustc/0/library/core\0crates/memchr-2.8/src/lib.rs\0") == []
    wheel = tmp_path / f"aioxide-{project.version()}-x.whl"
    write_wheel(wheel, {"aioxide/note.txt": f"built in {folder}/x", f"{INFO}/RECORD": ""})
    with pytest.raises(SystemExit, match=r"note\.txt"):
        finish.finish(wheel, tmp_path / "dist")
    assert not list((tmp_path / "dist").glob("*.whl"))


def test_what_is_finished_is_summed_with_all_that_is_there(tmp_path):
    bill = f'{{"ref": "path+file://{project.ROOT}/crates/aioxide#0.1.0"}}'
    for tag in ("one", "two"):
        files = {
            f"{INFO}/METADATA": "Name: aioxide\n\n[docs](docs/a.md)\n",
            f"{INFO}/sboms/aioxide.cyclonedx.json": bill,
            f"{INFO}/RECORD": "",
        }
        wheel = tmp_path / f"aioxide-{project.version()}-{tag}.whl"
        write_wheel(wheel, files)
        finish.finish(wheel, tmp_path / "dist")
    done = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path / "dist", capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.count(": OK") == 3
    _, _, made = record_of(tmp_path / "dist" / f"aioxide-{project.version()}-two.whl")
    assert (
        f"[docs]({project.repository()}/blob/v{project.version()}/docs/a.md)"
        in made[f"{INFO}/METADATA"].decode()
    )
    apart = (tmp_path / "dist" / f"aioxide-{project.version()}.cyclonedx.json").read_bytes()
    assert apart == made[f"{INFO}/sboms/aioxide.cyclonedx.json"] and b"path+file://./crates/aioxide" in apart


# ---------------------------------------------------------------------------------------------------------- licences


def test_the_licences_of_all_crates_that_are_linked_are_there():
    assert licences.FILE.read_text(encoding="utf-8") == licences.written(), "python -m release.licences"
    names = {package["name"] for package in licences.linked()}
    # Linked; only for building; only for tests.
    assert {"libc", "rustix", "memchr", "pyo3-ffi"} <= names
    assert not {"pyo3-build-config", "proptest", "loom", "aioxide-core"} & names


def test_a_crate_without_a_licence_file_is_told(tmp_path):
    with pytest.raises(SystemExit, match="bare has no licence file"):
        licences.texts({"name": "bare", "manifest_path": str(tmp_path / "Cargo.toml")})


def allowed():
    return set(tomllib.loads((project.ROOT / "deny.toml").read_text())["licenses"]["allow"])


def test_every_crate_that_is_linked_is_under_a_licence_that_deny_toml_allows():
    """As `make deny` asks of all crates; here for what is shipped, without cargo-deny."""
    for package in licences.linked():
        choices = package["license"].replace("/", " OR ").split(" OR ")
        assert {choice.strip() for choice in choices} & allowed(), package["name"]


def test_every_crate_comes_from_crates_io():
    lock = tomllib.loads((project.ROOT / "Cargo.lock").read_text())
    sources = {package.get("source", "ours") for package in lock["package"]}
    assert sources == {"ours", "registry+https://github.com/rust-lang/crates.io-index"}


# ------------------------------------------------------------------------------------------------------------- check


def test_a_placeholder_is_no_address():
    right = {"Source": "https://host.org/us/it", "Issues": "https://host.org/us/it/issues"}
    assert list(check.address(right)) == []
    assert "placeholder" in next(check.address({"Source": "https://aioxide.invalid/aioxide"}))
    assert "placeholder" in next(check.address({"Source": "https://host.org"}))
    assert list(check.address(right | {"Issues": "https://elsewhere.org"})) == [
        "pyproject.toml: the address Issues does not begin with Source"
    ]


def test_our_addresses_all_begin_with_one():
    assert [line for line in check.address(project.metadata()["urls"]) if "placeholder" not in line] == []


def test_a_version_without_its_section_in_the_changelog_is_told():
    assert list(check.changelog("# Log\n\n## [1.0.0] - 2027-01-31\n", "1.0.0")) == []
    for text in ("## [Unreleased]\n", "## [1.0.0]\n", "## [1.0.01] - 2027-01-31\n"):
        assert len(list(check.changelog(text, "1.0.0"))) == 1


@pytest.mark.parametrize(
    ("tags", "is_old"),
    [
        ("manylinux_2_17_x86_64.manylinux2014_x86_64", True),
        ("manylinux_2_28_x86_64", True),
        ("manylinux_2_34_x86_64", False),
        ("musllinux_1_2_aarch64", True),
        ("linux_x86_64", False),
    ],
)
def test_a_wheel_for_a_newer_glibc_is_told(tags, is_old):
    assert check.is_old_enough(f"aioxide-0.1.0-cp314-cp314-{tags}.whl") is is_old


def elf_file(*sections):
    """The least that is an ELF file with sections of these names: no code, a table of names, and headers."""
    table = b"\0" + b"".join(name.encode() + b"\0" for name in sections)
    offsets = [table.index(b"\0" + name.encode() + b"\0") + 1 for name in sections]
    headers = [
        struct.pack("<I20xQQ24x", 0, 64, len(table)),
        *(struct.pack("<I20xQQ24x", at, 0, 0) for at in offsets),
    ]
    head = b"\x7fELF\x02\x01".ljust(40, b"\0") + struct.pack("<Q10xHHH", 64 + len(table), 64, len(headers), 0)
    return head + table + b"".join(headers)


def test_sections_are_read_and_debug_information_is_one_of_them():
    assert elf.sections(elf_file(".text", ".dynsym")) == {"", ".text", ".dynsym"}
    assert elf.is_stripped(elf_file(".text", ".dynsym", ".gnu_debuglink"))
    assert not elf.is_stripped(elf_file(".text", ".symtab")) and not elf.is_stripped(elf_file(".debug_line"))
    with pytest.raises(ValueError, match="not a 64-bit"):
        elf.sections(b"MZ")


GOOD = {
    "aioxide/_aioxide.so": elf_file(".text"),
    **{f"{INFO}/licenses/LICENSE-{name}": b"" for name in ("MIT", "APACHE", "THIRD-PARTY")},
    f"{INFO}/sboms/aioxide.cyclonedx.json": b"{}",
    f"{INFO}/METADATA": b"[docs](https://host/docs)",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({f"{INFO}/licenses/LICENSE-THIRD-PARTY": None}, "no LICENSE-THIRD-PARTY"),
        ({f"{INFO}/sboms/aioxide.cyclonedx.json": None}, "no bill of materials"),
        ({f"{INFO}/METADATA": b"[docs](docs/a.md)"}, "relative links"),
        ({"aioxide/_aioxide.so": elf_file(".debug_line")}, "not stripped"),
        ({"aioxide/_aioxide.so": elf_file(".text") + f"{project.ROOT}/x".encode()}, "names folders"),
    ],
)
def test_each_fault_of_a_wheel_is_told(tmp_path, change, words):
    path = tmp_path / f"aioxide-{project.version()}-cp314-cp314-manylinux_2_28_x86_64.whl"
    write_wheel(path, {name: data for name, data in (GOOD | change).items() if data is not None})
    found = list(check.wheel(path))
    assert found == [] if words is None else len(found) == 1 and words in found[0]


def test_what_a_release_lacks_is_told(tmp_path):
    # Of another machine: not what is asked for.
    (tmp_path / f"aioxide-{project.version()}-cp314-cp314-manylinux_2_28_aarch64.whl").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "wheel", lambda path: iter([]))
        found = "\n".join(check.files(tmp_path))
    assert len(project.pythons()) == 5
    for python in project.pythons():
        assert f"no wheel of {project.version()} for CPython {python}" in found
    for name in (
        f"aioxide-{project.version()}.tar.gz",
        f"aioxide-{project.version()}.cyclonedx.json",
        "SHA256SUMS",
    ):
        assert name in found
    next(tmp_path.glob("*.whl")).unlink()
    (tmp_path / "aioxide-0.0.1-cp314-cp314-manylinux_2_28_x86_64.whl").touch()
    assert "it is of another version" in "\n".join(check.files(tmp_path))


def test_the_command_prints_every_reason(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["check", str(tmp_path)])
    # That would ask the network.
    monkeypatch.setattr(check, "crates", lambda: iter(["crates: none"]))
    with pytest.raises(SystemExit, match="reasons why this is no release"):
        check.main()
    said = capsys.readouterr().out
    assert "crates: none" in said and "no wheel of" in said


def test_a_release_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["check", str(tmp_path)])
    monkeypatch.setattr(check, "problems", lambda folder: iter([]))
    check.main()
    assert "can be released" in capsys.readouterr().out


# ----------------------------------------------------------------------------------------------------- what is pinned


def test_the_tools_of_a_release_are_pinned():
    for name in ("scripts/requirements.txt", "release/requirements.txt"):
        lines = [line for line in (project.ROOT / name).read_text().splitlines() if not line.startswith("#")]
        assert lines and all("==" in line for line in lines), name


def test_the_oldest_rust_is_the_same_wherever_it_is_named():
    version = tomllib.loads((project.ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    for name in ("scripts/environment", "README.md"):
        assert f"Rust {version} or newer" in (project.ROOT / name).read_text(), name
    major, minor = version.split(".")
    assert (
        f"OLDEST_RUST = ({major}, {minor})"
        in (project.ROOT / "release/backend/aioxide_backend.py").read_text()
    )
