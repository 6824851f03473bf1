"""Calls in processes: the pool over the native one, and what is rare in it: starts, deaths, ends, timers."""

from .errors import TransferError as TransferError, WorkerDied as WorkerDied
from .executor import ProcessPoolExecutor as ProcessPoolExecutor
