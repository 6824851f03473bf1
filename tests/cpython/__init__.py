"""The running interpreter's own ``test.test_asyncio``, pointed at aioxide.

``python -m tests.cpython`` runs every module in a process of its own; see `__main__` for the options.
"""
