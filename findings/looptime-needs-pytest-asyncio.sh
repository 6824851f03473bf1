#!/usr/bin/env bash
# Installing looptime breaks every pytest test with a fixture, asynchronous or not, unless pytest-asyncio is there too.
#
# Software: looptime 0.9 and pytest 8.4.2 from PyPI; a test that uses `tmp_path` and knows nothing of asyncio.
# Behaviour: pytest loads the plug-in by its entry point. It asks for the plug-in "asyncio" for each fixture that is set up
#   and takes the answer for a module; without pytest-asyncio, on which looptime does not depend, it is None. So the package
#   that one test needs fails all tests of the environment.
# Where aioxide's users would meet it: looking for a clock for tests. aioxide's loop refuses looptime (its `select` would
#   never be called); docs/how-to/tests.md has a loop with a clock of its own, which needs no package.
# Output seen (CPython 3.13.0, Linux 6.18):
#   without looptime: 1 passed
#   with looptime: 1 error: AttributeError: 'NoneType' object has no attribute '__name__'
#   with pytest-asyncio too: 1 passed
set -euo pipefail
python=${PYTHON:-python3}
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir "$home/suite"
printf 'def test_it(tmp_path):\n    assert tmp_path.exists()\n' >"$home/suite/test_it.py"

outcome() {
  (cd "$home/suite" && PYTHONPATH=$home/packages "$python" -m pytest -q -p no:cacheprovider 2>&1 || true) >"$home/out"
  local count reason
  count=$(grep -oE '[0-9]+ (passed|failed|error)' "$home/out" | head -n 1)
  reason=$(grep -oE "AttributeError: 'NoneType' object has no attribute '__name__'" "$home/out" | head -n 1 || true)
  echo "$count${reason:+: $reason}"
}
install() { "$python" -m pip install --quiet --disable-pip-version-check --target "$home/packages" "$@"; }

install pytest==8.4.2
seen="without looptime: $(outcome)"
install --no-deps looptime==0.9
seen+=$'\n'"with looptime: $(outcome)"
install --upgrade pytest==8.4.2 pytest-asyncio==1.4.0
seen+=$'\n'"with pytest-asyncio too: $(outcome)"
echo "$seen"
[ "$seen" = "without looptime: 1 passed
with looptime: 1 error: AttributeError: 'NoneType' object has no attribute '__name__'
with pytest-asyncio too: 1 passed" ]
