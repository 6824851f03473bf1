"""Values that fit no argument or few, and what an error about one must and must not say."""

import re


class Refusing:
    """An object that raises in whatever is asked of it."""

    __hash__ = None

    def _refuse(self, *args):
        raise LookupError("the object's own words")

    __index__ = __float__ = __iter__ = __bool__ = __len__ = __call__ = _refuse
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = _refuse


class Index:
    """An integer by `__index__`, as numpy's are."""

    def __index__(self):
        return 2


VALUES = {
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "-1": -1,
    "-0.5": -0.5,
    "0": 0,
    "1.5": 1.5,
    "2": 2,
    "10**30": 10**30,
    "-10**30": -(10**30),
    "10**400": 10**400,
    "True": True,
    "None": None,
    "str": "x",
    "bytes": b"x",
    "list": [5],
    "dict": {"a": 5},
    "numbered dict": {5: 5},
    "complex": 1j,
    "object": object(),
    "function": len,
    "type": int,
    "index": Index(),
    "refusing": Refusing(),
}

# What the interpreter or a library says of its own inside.
INSIDE = re.compile(
    r"not supported between|unsupported operand|has no attribute|object is not|not iterable|unhashable|bytes-like"
    r"|cannot convert|can't convert|interpreted as|to convert|must be real number|an integer is required|concat"
    r"|invalid literal|islice|sequence element|keywords must be strings|PyTime_t|C (int|ssize_t|long)|NaN to"
)

# The standard library's own words for arguments of its own.
STANDARD = {
    "max_workers must be greater than 0",
    "max_tasks_per_child must be an integer",
    "max_tasks_per_child must be >= 1",
    "initializer must be a callable",
    "chunksize must be >= 1.",
    "buffersize must be an integer or None",
    "buffersize must be None or > 0",
}


def complaint(error, argument, value):
    """What is wrong with an error about an argument; None where it is as it should be."""
    text = str(error)
    if text == "the object's own words" or text in STANDARD:
        return None
    if not isinstance(error, TypeError | ValueError | OverflowError):
        return f"a {type(error).__name__}"
    if INSIDE.search(text):
        return "from the inside"
    if not re.search(rf"\b{argument}\b", text):
        return "does not name the argument"
    got = {type(value).__name__}
    if not isinstance(value, Refusing):
        got.add(repr(value)[:1000])
    if not any(name in text for name in got):
        return "does not say what it got"
    if not re.search(r"\b(must|takes)\b", text):
        return "does not say what it takes"
    return None


def same_words(error, standard, value):
    """Whether the standard library's own class says the same of the value: then that is what is to be said."""
    try:
        standard(value)
    except Exception as said:
        return type(said) is type(error) and str(said) == str(error)
    return False


def faults(call, argument, accepted, standard=None):
    """Call `call(value)` with each value; list what it should refuse and does not, or refuses in bad words.

    `standard(value)` is the same call of the standard library's.
    """
    found = []
    for name, value in VALUES.items():
        try:
            call(value)
        except Exception as error:
            if standard is not None and same_words(error, standard, value):
                continue
            wrong = "refused" if name in accepted else complaint(error, argument, value)
            if wrong:
                found.append(f"{argument}={name}: {wrong}: {type(error).__name__}: {error}")
        else:
            if name not in accepted:
                found.append(f"{argument}={name}: accepted")
    return found
