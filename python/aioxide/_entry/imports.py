"""Doing something to a module as soon as it is imported, without importing it."""

import importlib.machinery
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any


class WhenImported(MetaPathFinder):
    """Calls a function once with a module: at once if it is imported, or else when it has been.

    Args:
        name: the module's full name.
        action: called with the module, in the thread that imports it, before anybody else gets the module.
    """

    def __init__(self, name: str, action: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._action = action
        # Held while the action runs: `cancel` then comes before it or after it.
        self._lock = threading.RLock()
        self._wanted = True
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            self._act(module)
        else:
            sys.meta_path.insert(0, self)

    def cancel(self) -> None:
        """Do nothing any more when the module is imported."""
        with self._lock:
            self._wanted = False
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def _act(self, module: ModuleType) -> None:
        with self._lock:
            if self._wanted:
                self._wanted = False
                self._action(module)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the module as the finders behind this one do, and have its loader tell us when it is there."""
        if name != self._name or not self._wanted:
            return None
        for finder in list(sys.meta_path):
            found = finder is not self and getattr(finder, "find_spec", None)
            spec: Any = found(name, path, target) if found else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self._loaded)
                return spec  # type: ignore[no-any-return]
        return None

    def _loaded(self, module: ModuleType) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        self._act(module)


class _Loader(Loader):
    """Stands in a spec until the module is executed. The loader itself may serve many modules, or be a class."""

    def __init__(self, loader: Any, loaded: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._loaded = loaded

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Create it as the loader does."""
        create = getattr(self._loader, "create_module", None)
        return create(spec) if create else None

    def exec_module(self, module: ModuleType) -> None:
        """Execute it as the loader does, to which it then belongs, and tell."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._loaded(module)
