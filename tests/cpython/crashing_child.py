"""`child` with one test that aborts the process: what test_harness runs to see crashes reported."""

import os

from test.test_asyncio import test_protocols

from tests.cpython import child

test_protocols.ProtocolsAbsTests.test_protocol = lambda self: os.abort()
child.main()
