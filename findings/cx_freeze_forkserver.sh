#!/usr/bin/env bash
# A process pool in a program that cx_Freeze made cannot call the program's functions with the start method "forkserver", the
# default on Linux since Python 3.14; "spawn" and "fork" work.
#
# Seen with: cx_Freeze 8.7.3, CPython 3.13.0 and 3.14.10, on Linux; the standard library's pool.
# Input:     the program below, which calls multiprocessing.freeze_support() first, as cx_Freeze's documentation asks.
# Behaviour: the fork server runs inside `import multiprocessing` of the frozen script, before the script has defined anything;
#            its children find a `__main__` of the right name, and so do not import it, and it is empty.
# Output:    spawn 9
#            fork 9
#            forkserver BrokenProcessPool            (in the worker: AttributeError: Can't get attribute 'square' on
#                                                     <module '__main__program' from '.../library.zip/__main__program.pyc'>)
# Aioxide:   the same, for the call alone; docs/how-to/frozen-programs.md ("Freeze a program") says to give the pool a "spawn" context.
set -uo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit

cat >program.py <<'PROGRAM'
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor


def square(number):
    return number * number


if __name__ == "__main__":
    multiprocessing.freeze_support()
    method = sys.argv[1]
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            print(method, pool.submit(square, 3).result(60))
    except Exception as error:
        print(method, type(error).__name__)
PROGRAM
"$python" -m pip install --quiet --disable-pip-version-check --target site cx_Freeze==8.7.3 || exit
export PYTHONPATH=$folder/site
"$python" --version
"$python" -m cx_Freeze build_exe --build-exe=out --silent --script program.py >build.log 2>&1 || { cat build.log; exit 1; }
unset PYTHONPATH
for method in spawn fork forkserver; do
  timeout 100 out/program "$method" 2>"$method.log" | tee -a said
done
grep -h AttributeError forkserver.log
printf '%s\n' 'spawn 9' 'fork 9' 'forkserver BrokenProcessPool' | diff - said || { echo 'changed'; exit 1; }
