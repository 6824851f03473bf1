"""What only a debug build of CPython looks at, or asserts."""

import gc
import weakref

import aioxide
import pytest


@pytest.mark.parametrize("base", [aioxide.Future, aioxide.Task])
def test_a_cycle_through_an_attribute_of_a_subclass_is_collected(base):
    class Own(base):
        pass

    async def nothing():
        pass

    async def main():
        loop = aioxide.get_running_loop()
        own = Own(loop=loop) if base is aioxide.Future else Own(nothing(), loop=loop)
        if base is aioxide.Task:
            await aioxide.sleep(0.01)
            assert own.done()
        own.me = own
        seen = weakref.ref(own)
        del own
        gc.collect()
        assert seen() is None

    aioxide.run(main())
