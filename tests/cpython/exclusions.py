"""The list of tests that are not run, read from a TOML file, each entry with its reason."""

import fnmatch
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

_COMPARE = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
}


def applies(pythons: str, version: tuple[int, ...] = sys.version_info[:3]) -> bool:
    """Whether `version` satisfies `pythons`, such as ``">=3.12,<3.14"`` or ``"==3.13.0"`` (empty: always).

    A bound with two numbers is compared with two numbers of the version, so ``<=3.12`` includes every 3.12.

    :raises ValueError: if a clause has no comparison operator
    """
    for clause in filter(None, (c.strip() for c in pythons.split(","))):
        operator = next((op for op in _COMPARE if clause.startswith(op)), None)
        if operator is None:
            raise ValueError(f"no comparison in {clause!r}")
        bound = tuple(int(n) for n in clause.removeprefix(operator).split("."))
        if not _COMPARE[operator](version[: len(bound)], bound):
            return False
    return True


@dataclass
class Exclusion:
    """One line of the file: test ids that match the `fnmatch` pattern `id` aren't run on `pythons`."""

    id: str
    reason: str
    pythons: str = ""
    # True where stock asyncio fails too: the machine or the test is at fault, and --stock leaves it out too.
    stock: bool = False
    matched: list[str] = field(default_factory=list)


class Exclusions:
    """The entries of one file that hold for the running interpreter.

    :raises ValueError: if an entry has no reason, or one that says nothing
    """

    def __init__(self, path: Path, *, stock: bool = False) -> None:
        with path.open("rb") as file:
            entries = [Exclusion(**entry) for entry in tomllib.load(file)["exclude"]]
        for entry in entries:
            if len(entry.reason.split()) < 3:
                raise ValueError(f"{path.name}: {entry.id}: a reason is needed, not {entry.reason!r}")
        self.entries = [e for e in entries if applies(e.pythons) and (e.stock or not stock)]

    def reason(self, test_id: str) -> str | None:
        """The reason why `test_id` isn't run, or None if it is; notes which entries were of use."""
        hits = [entry for entry in self.entries if fnmatch.fnmatchcase(test_id, entry.id)]
        for entry in hits:
            entry.matched.append(test_id)
        return hits[0].reason if hits else None

    def unused(self, module: str) -> list[str]:
        """Patterns meant for `module` that no test matched: the test is gone, or the pattern is wrong."""
        return [e.id for e in self.entries if e.id.split(".")[0] == module and not e.matched]
