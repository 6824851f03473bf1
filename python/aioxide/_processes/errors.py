"""The exceptions that a process pool makes of what happens to a call."""

from __future__ import annotations

import traceback
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from typing import Any


class WorkerDied(BrokenProcessPool):
    """The worker process that ran the call has died; the pool goes on (`on_worker_death="respawn"`).

    Attributes:
        pid: the process.
        exitcode: its exit code; the negative number of the signal that killed it; None where nobody could tell.
    """

    __module__ = "aioxide"  # where users import it from, and what pickles name

    def __init__(self, message: str, pid: int | None = None, exitcode: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.pid, self.exitcode)


class TransferError(BrokenProcessPool):
    """The arguments of a call could not be unpickled in the worker, or its result not here; only this call fails.

    The standard library's pool breaks where this is raised, with a `BrokenProcessPool`.
    """

    __module__ = WorkerDied.__module__


# typeshed has a traceback where the class takes its text.
remote_traceback: Any = _RemoteTraceback


class Errors:
    """The part of a pool's manager that the core asks for exceptions."""

    def pickling_failed(self, error: BaseException, interrupted: bool) -> BaseException:
        """Return the exception of a call that could not be pickled."""
        if interrupted:
            failed = TransferError("The call could not be pickled: Ctrl-C came meanwhile")
            failed.__cause__ = error
            return failed
        # Where the standard library's pool has it.
        text = "".join(traceback.format_exception(error))
        error.__cause__ = remote_traceback(f'\n"""\n{text}"""')
        return error

    def rebuild(self, told: tuple[BaseException, str], unreadable: bool) -> BaseException:
        """Return the exception that a worker has sent, or the one that says that it could not read its task."""
        error, text = told
        error.__cause__ = remote_traceback(text)
        if not unreadable:
            return error
        failed = TransferError(f"The call could not be unpickled in the worker process: {error!r}")
        failed.__cause__ = error
        return failed

    def unreadable(self, error: BaseException) -> BaseException:
        """Return the exception for a result that could not be unpickled."""
        failed = TransferError(f"The result of the call could not be unpickled: {error!r}")
        failed.__cause__ = error
        return failed
