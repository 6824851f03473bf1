"""`python -m benches train`: the load that a profile-guided build learns from (scripts/guided); nothing is measured.

An instrumented extension writes its counters when its process ends by exit(3). So workers are not killed where
`LLVM_PROFILE_FILE` says that there is one, and scripts/training has all interpreters end so.
"""

import argparse
import sys

from .case import Case, Settings
from .lanes import OURS
from .processes import TRAINING, build_native
from .registry import load_all
from .results import Results
from .runner import Runner

# Of each family the sizes that programs have mostly: what is rare is not to be laid out as if it were hot. Without
# packages from elsewhere, which the environment of a build does not have.
CASES = """
    call_soon_chain@10 call_soon_queued@1000 call_soon_threadsafe@20000
    call_later_cancel@1000 call_later_fires@5000 timers_one_deadline@1000
    sleep0@1 sleep0@100 create_task@1 future_ping_pong@2 gather@1000 taskgroup@1000 wait@100 wait_for@1 timeout@1
    lock@10 event@2 queue@1
    echo@1024 echo@20480+freed echo@102400 echo_buffered@20480 echo_streams@1024+freed echo_connections@100
    sock_echo@1024 datagrams@200+freed pipe_echo@2000+freed
    accepted@10 connect_echo@10 open_connection@10 beside_protocol_2@10 beside_streams_2@10
    to_thread@1 to_thread@10 thread_gather@1000 thread_submit@10 process_call@100 process_gather@500 process_map@1000
""".split()


def chosen(cases: dict[str, Case]) -> list[Case]:
    """The cases of the load. Raises `KeyError` for one that no longer exists."""
    return [cases[name] for name in CASES]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benches train", description=__doc__)
    parser.parse_args(arguments)
    if not TRAINING:
        raise SystemExit("benches: training wants LLVM_PROFILE_FILE in its environment (see scripts/guided)")
    build_native()
    # A round is thrown away by measurements only; one small one of each case has every code path counted.
    runner = Runner([OURS], Settings(quick=True), Results())
    runner.run(chosen(load_all()))
    for problem in runner.problems:
        print(f"PROBLEM {problem}", file=sys.stderr)
    return 1 if runner.problems or runner.skipped else 0
