"""The running interpreter's own ``test.test_concurrent_futures``, pointed at aioxide's pools.

``python -m tests.concurrent`` runs every part of every module in a process of its own; see `__main__`.
"""
