"""Wheels and source distributions, copied with some of their files changed."""

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

# (name of a file, its bytes) to the bytes that stand there instead.
Change = Callable[[str, bytes], bytes]


def copy_wheel(source: Path, target: Path, change: Change) -> None:
    """Copy a wheel; its RECORD says what the copy holds."""
    lines = []
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        infos = old.infolist()
        [record] = [info for info in infos if info.filename.endswith(".dist-info/RECORD")]
        for info in infos:
            if info is record or info.is_dir():
                continue
            data = change(info.filename, old.read(info))
            new.writestr(info, data, zipfile.ZIP_DEFLATED)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{info.filename},sha256={digest},{len(data)}\n")
        new.writestr(record, "".join([*lines, f"{record.filename},,\n"]), zipfile.ZIP_DEFLATED)


def copy_sdist(source: Path, target: Path, change: Change, more: Path | None = None) -> None:
    """Copy a source distribution; into its folder, what is in the folder `more` as well."""
    with tarfile.open(source) as old, target.open("wb") as raw:
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped, tarfile.open(None, "w", zipped) as new:
            for member in old:
                file = old.extractfile(member)
                if file is None:
                    new.addfile(member)
                    continue
                data = change(member.name, file.read())
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
            if more is not None:
                for path in sorted(more.iterdir()):
                    new.add(path, f"{source.name.removesuffix('.tar.gz')}/{path.name}", filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member
