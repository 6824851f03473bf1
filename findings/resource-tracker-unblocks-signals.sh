#!/usr/bin/env bash
# The first semaphore or shared memory of multiprocessing takes SIGINT and SIGTERM out of the calling thread's mask.
#
# Seen with: CPython 3.11.7, 3.12.1, 3.13.0 (and not 3.14.10, 3.15.2), on Linux.
# Input:     a program that has blocked both signals (pthread_sigmask) makes multiprocessing.get_context("spawn").Semaphore().
# Behaviour: that starts the resource tracker, and multiprocessing blocks the two signals around its start; afterwards it
#            unblocks them, whatever was there before. From 3.14 on it puts the mask back. So a program that keeps Ctrl-C from
#            a stretch of code gets it there all the same, once, with the first object that it makes.
# Output:    blocked before: SIGINT SIGTERM
#            blocked after: (none)                    up to 3.13
#            blocked after: SIGINT SIGTERM            from 3.14 on
# Aioxide:   a process pool starts the tracker before it blocks SIGINT around a worker's start
#            (python/aioxide/_processes/signals.py; tests/processes/test_interrupted.py, phase "starting").
set -uo pipefail
python=${PYTHON:-python3}

"$python" --version
said=$("$python" - <<'PROGRAM'
import multiprocessing
import signal
import sys


def blocked():
    return " ".join(sorted(each.name for each in signal.pthread_sigmask(signal.SIG_BLOCK, []))) or "(none)"


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
before = blocked()
multiprocessing.get_context("spawn").Semaphore()
print("blocked before:", before)
print("blocked after:", blocked())
kept = blocked() == before
sys.exit(kept != (sys.version_info >= (3, 14)))
PROGRAM
)
status=$?
echo "$said"
[ "$status" -eq 0 ] || echo 'changed: another version restores the mask, or does not'
exit "$status"
