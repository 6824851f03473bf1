#!/usr/bin/env bash
# `ulimit -f`, the limit on the size of files, limits memory that processes share as well, though no file is written.
#
# Linux 6.18, CPython 3.11 to 3.14, the standard library only. setrlimit(2) speaks of "the maximum size of files that the process
# may create"; the kernel applies it to everything that has a size by ftruncate, so to memfd_create and shm_open too, whose
# pages are memory. Under the limit that a batch system or a CI runner sets against large logs, multiprocessing.shared_memory
# fails with "File too large"; anonymous memory (mmap) of the same size does not, nor do pipes. A program that has not
# ignored SIGXFSZ, as Python does, is killed instead.
#
# Seen:   mmap: 8000000 bytes
#         memfd: [Errno 27] File too large
#         SharedMemory: [Errno 27] File too large
# (and a KeyError of multiprocessing's resource tracker, which is told to forget what was never made).
# Our users meet it where arrays are sent to workers: aioxide's process pool sends them through its sockets there
# (docs/explanation/pools.md, "Large data").
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/program.py" <<'PROGRAM'
import mmap
import os
import sys
from multiprocessing.shared_memory import SharedMemory

SIZE = 8_000_000


def attempt(name, make):
    try:
        made = f"{make()} bytes"
    except OSError as error:
        made = str(error)
    print(f"{name}: {made}")
    return made


def memfd():
    fd = os.memfd_create("finding")
    os.ftruncate(fd, SIZE)
    return os.fstat(fd).st_size


def shared_memory():
    memory = SharedMemory(create=True, size=SIZE)
    memory.unlink()
    return memory.size


if __name__ == "__main__":
    found = [
        attempt("mmap", lambda: len(mmap.mmap(-1, SIZE))),
        attempt("memfd", memfd),
        attempt("SharedMemory", shared_memory),
    ]
    sys.exit(found != [f"{SIZE} bytes", *["[Errno 27] File too large"] * 2])
PROGRAM
ulimit -f 1000
"$PYTHON" "$folder/program.py"
