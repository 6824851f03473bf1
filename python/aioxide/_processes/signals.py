"""Signals and a pool's processes: what a child is spared while it starts, and what ended it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess


# By thread that starts a child: its signal mask before.
_masks: dict[int, set[Any]] = {}


@contextlib.contextmanager
def no_interrupt(context: Any) -> Iterator[None]:
    """Keep Ctrl-C from a child that is not ready for it: the worker lets it through when it is.

    Not for the fork server, which would hand the mask on to children of others. Whoever is cut short calls
    `restore_mask`: the end of a `with` block is Python code too.
    """
    if context.get_start_method() == "forkserver":
        yield
        return
    if context.get_start_method() == "spawn":
        from multiprocessing import resource_tracker

        # Its start comes with the first worker's, and up to CPython 3.13 leaves SIGINT unblocked.
        resource_tracker.ensure_running()
    _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # Within: one that came just before is raised behind this, and it must not stay blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        yield
    finally:
        restore_mask()


def restore_mask() -> None:
    """Let through again what `no_interrupt` keeps from this thread; may be cut short, and begun anew."""
    before = _masks.get(threading.get_ident())
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _masks.pop(threading.get_ident(), None)


def reap(process: BaseProcess) -> None:
    """Have multiprocessing know how a child that is dead has ended; may be cut short, and begun anew.

    Its own way asks the kernel, which answers once, and notes the answer. Cut short in between, it never learns of the
    end: the child stays in `active_children()` for ever. Here the answer is noted before it is used up.
    """
    popen: Any = getattr(process, "_popen", None)
    if popen is None or popen.method == "forkserver":
        return  # not our child
    pid = popen.pid
    for last in (False, True):
        if popen.returncode is not None:
            break
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            if last:
                popen.returncode = 255  # multiprocessing's number for one that nobody can know
            else:
                time.sleep(0.001)  # whoever has asked may be about to note it
            continue
        if ended is None:
            return
        killed = ended.si_code != os.CLD_EXITED
        popen.returncode = -ended.si_status if killed else ended.si_status
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def how_it_ended(process: BaseProcess) -> str:
    """Say how a process ended, as the second half of a sentence."""
    code = process.exitcode
    if code is None:
        return "has died"
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"was killed by signal {name}"
