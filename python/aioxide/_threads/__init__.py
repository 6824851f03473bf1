"""Calls in threads: the pool over the native queue, and that queue as programs know the standard library's."""

from .executor import StandardPool as StandardPool, ThreadPoolExecutor as ThreadPoolExecutor
