"""Classes that are derived from ours and add fields with `__slots__`: what works with asyncio's own works with them."""

import abc
import asyncio
import gc
import sys
import weakref

import aioxide
import pytest

BASES = ["Future", "Task"]


class Mixin:
    __slots__ = ()

    def both(self):
        return self.x, self.y


class Open:
    "Instances have a `__dict__`."

    kept = 7


class Abstract(abc.ABC):
    __slots__ = ()

    @abc.abstractmethod
    def both(self): ...


def one_level(base):
    return type(base)("OneLevel", (base,), {"__slots__": ("x", "y"), "both": Mixin.both})


def two_levels(base):
    class First(base):
        __slots__ = ("x",)

    class Second(First):
        __slots__ = ("y",)
        both = Mixin.both

    return Second


def mixed_before(base):
    class Mixed(Mixin, base):
        __slots__ = ("x", "y")

    return Mixed


def mixed_behind(base):
    class First(base, Mixin):
        __slots__ = ("y",)

    class Mixed(First, Open):
        __slots__ = ("x",)

    return Mixed


def slots_below_a_dict(base):
    class First(base):
        pass

    class Second(First):
        __slots__ = ("x",)
        both = Mixin.both

    class Third(Second):
        pass

    return Third


def abstract(base):
    class Whole(base, Abstract):
        __slots__ = ("x", "y")
        both = Mixin.both

    return Whole


WAYS = [one_level, two_levels, mixed_before, mixed_behind, slots_below_a_dict, abstract]


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("way", WAYS)
def test_a_class_with_slots_works_and_lets_go_of_what_they_hold(way, name):
    class Held:
        pass

    class_of_ours, class_of_theirs = (way(getattr(module, name)) for module in (aioxide, asyncio))
    ours, theirs = ([kind.__name__ for kind in one.__mro__] for one in (class_of_ours, class_of_theirs))
    # `asyncio.Task` of CPython has one Future in its order, ours has a second of the same name.
    assert list(dict.fromkeys(ours)) == list(dict.fromkeys(theirs))
    assert class_of_ours.mro() == list(class_of_ours.__mro__)

    async def returns():
        await asyncio.sleep(0)
        return "done"

    async def main():
        loop = asyncio.get_running_loop()
        made = class_of_ours(loop=loop) if name == "Future" else class_of_ours(returns(), loop=loop)
        held, other = Held(), Held()
        made.x, made.y = held, made
        made.anything = other
        assert made.both() == (held, made) and made.anything is other
        if name == "Future":
            loop.call_soon(made.set_result, "done")
        assert isinstance(made, aioxide.Future) and aioxide.Future.done(made) is False
        assert await made == "done" and aioxide.Future.result(made) == "done"
        return weakref.ref(made), weakref.ref(held), weakref.ref(other)

    gone = aioxide.run(main())
    gc.collect()
    assert [one() for one in gone] == [None] * 3


def test_slots_that_clash_are_refused_as_ever():
    class One(aioxide.Task):
        __slots__ = ("x",)

    class Two(aioxide.Task):
        __slots__ = ("y",)

    with pytest.raises(TypeError, match=r"lay-?out conflict"):
        type(One)("Both", (One, Two), {})
    with pytest.raises(TypeError, match="consistent method resolution"):
        type(One)("Twisted", (aioxide.Future, aioxide.Task), {"__slots__": ("z",)})


def test_a_metaclass_of_ones_own_keeps_its_order():
    class Turned(type(aioxide.Task)):
        def mro(cls):
            order = super().mro()
            return [order[0], Open, *order[1:]]

    class Task(aioxide.Task, metaclass=Turned):
        pass

    assert Task.__mro__[:3] == (Task, Open, aioxide.Task) and Task.kept == 7


def test_bases_can_be_changed_and_the_order_follows():
    class Other(Open):
        kept = 8

    class First(aioxide.Task, Open):
        __slots__ = ("x",)

    class Second(First):
        pass

    assert (First.kept, Second.kept) == (7, 7)
    First.__bases__ = (aioxide.Task, Other)
    assert (First.kept, Second.kept) == (8, 8)
    assert Second.__mro__ == (Second, *First.__mro__) and Other in First.__mro__


@pytest.mark.skipif(sys.version_info < (3, 12), reason="by version: Python 3.11 shows no version tags")
def test_derived_classes_stay_in_the_attribute_cache():
    import _testcapi as capi

    class Task(aioxide.Task):
        __slots__ = ("x",)

    assert Task.all_tasks if hasattr(Task, "all_tasks") else Task.result
    assert capi.type_assign_version(Task) == 1 and capi.type_get_version(Task) != 0
