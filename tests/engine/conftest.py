"""What the tests of the engine share."""

import pytest

from tests.support.scenarios import FACTORIES


@pytest.fixture
def loop():
    loop = FACTORIES["aioxide"]()
    yield loop
    loop.close()
