"""Attributes that are replaced, and can be put back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .. import _aioxide
from .imports import WhenImported

_ABSENT: Any = object()


@dataclass(frozen=True)
class Patch:
    """One attribute that we replaced, and what stood there; `_ABSENT` where the owner itself had none.

    Of a dict (`sys.modules`), one item.
    """

    owner: Any
    name: str
    ours: Any
    before: Any

    @classmethod
    def make(cls, owner: Any, name: str, ours: Any, made: "list[Any]") -> None:
        """Replace it, and append what takes that back: first, so that an interrupt in between leaves nothing behind."""
        patch = cls(owner, name, ours, _names_of(owner).get(name, _ABSENT))
        made.append(patch)
        patch._put(ours)

    def undo(self) -> None:
        """Put back what stood there, unless somebody else has replaced ours."""
        if _names_of(self.owner).get(self.name, _ABSENT) is self.ours:
            self._put(self.before)

    def _put(self, value: Any) -> None:
        if isinstance(self.owner, dict):
            if value is _ABSENT:
                del self.owner[self.name]
            else:
                self.owner[self.name] = value
        elif isinstance(self.owner, type) and is_fixed(self.owner):
            _aioxide._set_in_type(self.owner, self.name, *(() if value is _ABSENT else (value,)))
        elif value is _ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, value)


class Later:
    """What is to be replaced in a module that we don't import: as soon as it is."""

    def __init__(
        self, module: str, replacements: Callable[[ModuleType], Iterator[tuple[Any, str, Any]]]
    ) -> None:
        self._replacements = replacements
        self._made: list[Any] = []
        self._hook = WhenImported(module, self._make)

    def _make(self, module: ModuleType) -> None:
        for each in self._replacements(module):
            Patch.make(*each, self._made)

    def undo(self) -> None:
        """Put back what stood there, or leave the module alone when it is imported."""
        self._hook.cancel()
        for patch in reversed(self._made):
            patch.undo()


def _names_of(owner: Any) -> Any:
    return owner if isinstance(owner, dict) else vars(owner)


def is_fixed(kind: type) -> bool:
    """Whether this is a class in C that lets nobody set its attributes."""
    return bool(kind.__flags__ & 1 << 8)  # Py_TPFLAGS_IMMUTABLETYPE
