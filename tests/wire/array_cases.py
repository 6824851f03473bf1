"""Arrays of all kinds, and what can be told of one, to compare what two pools make of them."""

import pickle
import sys

import numpy

SIZES = (60, 30_000)


class Subclass(numpy.ndarray):
    """Pickled by numpy's own way for subclasses."""


class WithAttribute(numpy.ndarray):
    """Pickled by a way of its own, on top of numpy's."""

    def __array_finalize__(self, other):
        self.unit = getattr(other, "unit", None)

    def __reduce__(self):
        function, args, state = super().__reduce__()
        return function, args, (*state, self.unit)

    def __setstate__(self, state):
        self.unit = state[-1]
        super().__setstate__(state[:-1])


class Asked:
    """Says what protocol it was pickled by."""

    def __init__(self, protocol=None):
        self.protocol = protocol

    def __reduce_ex__(self, protocol):
        return Asked, (protocol,)


class ByBuffer:
    """Pickled with a buffer of an array where the protocol has such things."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return ByBuffer, (pickle.PickleBuffer(self.data) if protocol >= 5 else bytes(memoryview(self.data)),)


def readonly(array):
    array.flags.writeable = False
    return array


def layouts(size):
    flat = numpy.arange(size, dtype=float)
    table = flat.reshape(-1, 10)
    return {
        "plain": flat,
        "read-only": readonly(flat.copy()),
        "C": table,
        "Fortran": numpy.asfortranarray(table),
        "read-only Fortran": readonly(numpy.asfortranarray(table)),
        "transposed in part": flat.reshape(-1, 10, 3).transpose(1, 0, 2),
        "every second": flat[::2],
        "backwards": flat[::-1],
        "a part": flat[3:],
        "columns": table[:, :5],
        "broadcast": numpy.broadcast_to(numpy.arange(10), (size // 10, 10)),
        "unaligned": numpy.frombuffer(b"x" + flat.tobytes(), "f8", offset=1),
        "over bytes": numpy.frombuffer(flat.tobytes()),
    }


def types(size):
    names = ("?", "i1", ">i4", "f2", ">f8", ">c16", "M8[s]", ">M8[s]", "m8[ms]", "U5", ">U5", "S7", "V9")
    found = {name: numpy.zeros(size, "i8").astype(name) for name in names}
    for name, kind in {
        "fields": [("a", "f8"), ("b", ">i4"), ("c", "U3")],
        "aligned fields": numpy.dtype([("a", "f8"), ("b", "i1")], align=True),
        "fields of arrays": [("a", "f4", (2, 3))],
        "objects in fields": [("a", "f8"), ("b", "O")],
    }.items():
        found[name] = numpy.zeros(size, kind)
    found["objects"] = numpy.array([1, "x", None] * (size // 3), dtype=object)
    return found


def classes(size, folder):
    flat = numpy.arange(size, dtype=float)
    with_attribute = flat.view(WithAttribute)
    with_attribute.unit = "m"
    mapped = numpy.memmap(folder / f"mapped{size}", dtype="f4", shape=(size,), mode="w+")
    twice = flat.copy()
    return {
        "subclass": flat.view(Subclass),
        "read-only subclass": readonly(flat.copy().view(Subclass)),
        "attribute": with_attribute,
        "records": numpy.rec.array(numpy.zeros(size, [("a", "f8")])),
        "masked": numpy.ma.array(flat, mask=flat % 2 == 0),
        "matrix": numpy.asmatrix(flat.reshape(-1, 10)),
        "memmap": mapped,
        "of a read-only memmap": numpy.asarray(numpy.memmap(folder / f"mapped{size}", dtype="f4", mode="r")),
        "twice": [twice, twice, twice[1:], {"in": twice}],
        "strings of bytes": [flat.tobytes(), bytearray(flat.tobytes())],
        "by a buffer": ByBuffer(numpy.arange(size)),
        "by a read-only buffer": ByBuffer(readonly(numpy.arange(size))),
        "exception": ValueError(readonly(flat.copy())),
    }


def cases(folder):
    for size in SIZES:
        for found in (layouts(size), types(size), classes(size, folder)):
            for name, value in found.items():
                yield f"{name} of {size}", value
    yield "one number", numpy.array(3.0)
    yield "one swapped number", numpy.array(3.0, ">f8")
    yield "one large item", numpy.zeros((), "V40000")
    yield "empty", numpy.zeros((0, 3))
    yield "empty Fortran", numpy.zeros((3, 0), order="F")
    yield "scalar", numpy.float64(3)
    yield "protocol", [Asked(), {"in": Asked()}]
    yield "what is found by name", [NotImplemented, ..., Asked, sys.getrefcount, pickle.dumps]


def told(value):
    """All that can be seen of a value."""
    if isinstance(value, numpy.ma.MaskedArray):
        return ["masked", told(numpy.asarray(value.data)), told(value.mask)]
    if isinstance(value, numpy.ndarray):
        flags, kind = value.flags, value.dtype
        small = value.nbytes < 1000 and (flags.owndata, value.base is None)
        looks = (flags.writeable, flags.c_contiguous, flags.f_contiguous, flags.aligned, small, value.strides)
        content = value.tobytes() if not kind.hasobject else value.tolist()
        attributes = getattr(value, "__dict__", None)
        return [type(value).__name__, repr(kind), kind.isnative, value.shape, looks, attributes, content]
    if isinstance(value, (list, tuple)):
        return [[told(item) for item in value], [a is b for a in value for b in value]]
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    if isinstance(value, BaseException):
        return [type(value), told(value.args)]
    if isinstance(value, (Asked, ByBuffer)):
        return [type(value), type(getattr(value, "data", None)), value.__dict__]
    return [type(value).__name__, value]


def told_and_back(value):
    return pickle.dumps(told(value)), value
