"""The whole surface of asyncio.AbstractEventLoop, each method called for real: see `surface`."""

import pytest

pytest.register_assert_rewrite("tests.loop.calls_core", "tests.loop.calls_files", "tests.loop.calls_network")
