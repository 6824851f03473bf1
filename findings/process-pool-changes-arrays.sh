#!/usr/bin/env bash
# The standard library's process pool changes numpy arrays on their way, up to CPython 3.13, and does not from 3.14 on.
#
# numpy 2.3.5 on CPython 3.11.7 and 3.13.0: an array of dtype ">f8" arrives as "<f8", and a read-only array arrives writable.
# The pool pickles by pickle's default protocol, 4; numpy's __setstate__, which that uses, swaps the bytes and makes the array
# writable. By protocol 5, the default since 3.14, numpy makes the array over a buffer, and both stay. A worker that writes into
# a "read-only" array therefore begins to fail when only the interpreter is upgraded.
#
# Seen:   3.13: sent >f8 False -- in the worker <f8 True
#         3.14: sent >f8 False -- in the worker >f8 False
# Our users meet it in any pool: aioxide's gives each version what its standard pool gives (docs/explanation/pools.md, "Large data").
set -euo pipefail
PYTHON=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$PYTHON" -m pip install --quiet --disable-pip-version-check --target "$folder/packages" numpy==2.3.5
cat > "$folder/program.py" <<'PROGRAM'
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy


def look(array):
    return array.dtype.str, array.flags.writeable


if __name__ == "__main__":
    array = numpy.arange(1000, dtype=">f8")
    array.flags.writeable = False
    with ProcessPoolExecutor(1) as pool:
        found = pool.submit(look, array).result()
    print("%d.%d:" % sys.version_info[:2], "sent", *look(array), "-- in the worker", *found)
    sys.exit(found != ((">f8", False) if sys.version_info >= (3, 14) else ("<f8", True)))
PROGRAM
PYTHONPATH="$folder/packages" "$PYTHON" "$folder/program.py"
