#!/bin/sh
# joblib 1.6.0 with its default backend (loky), CPython 3.13 and 3.14.
#
# A function that the script itself defines goes to the workers by value, once for each *batch* of calls, and brings
# globals of its own: a counter, a cache, a functools.lru_cache, a random generator of the script starts anew with each
# batch. So what a function returns that uses one depends on the size of the batch, which joblib chooses by how long the
# calls take (batch_size="auto"). The very same function in a module that is imported keeps its globals in each worker.
# Here six calls number themselves, on two workers: one of these runs three or more.
#
# Seen:
#   script, batch_size=1: 1 1 1 1 1 1
#   script, batch_size=3: 1 2 3 1 2 3
#   module, batch_size=1: a worker has counted to 3 or more
#
# aioxide.ProcessPoolExecutor sends functions by name, as the standard pool does; ClusterExecutor is as joblib with one batch
# for each call, or chunk of map().
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m pip install --quiet --disable-pip-version-check --target "$folder" joblib==1.6.0
cat > "$folder/numbered.py" <<'PROGRAM'
calls = 0
def number(_):
    global calls
    calls += 1
    return calls
PROGRAM
{ cat "$folder/numbered.py"; cat <<'PROGRAM'
import joblib, numbered
def run(function, size):
    parallel = joblib.Parallel(n_jobs=2, batch_size=size, pre_dispatch="all")
    return parallel(joblib.delayed(function)(i) for i in range(6))
if __name__ == "__main__":
    print("script, batch_size=1:", *run(number, 1))
    print("script, batch_size=3:", *run(number, 3))
    most = max(run(numbered.number, 1))
    print("module, batch_size=1: a worker has counted to", "3 or more" if most >= 3 else most)
PROGRAM
} > "$folder/program.py"
seen=$(cd "$folder" && PYTHONPATH="$folder" "$python" program.py)
echo "$seen"
[ "$seen" = "script, batch_size=1: 1 1 1 1 1 1
script, batch_size=3: 1 2 3 1 2 3
module, batch_size=1: a worker has counted to 3 or more" ]
