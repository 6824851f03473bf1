"""Workers for gunicorn: `gunicorn --worker-class aioxide.gunicorn.UvicornWorker app:app`.

* `UvicornWorker`: that of the package `uvicorn-worker`, with `--loop aioxide:new_event_loop`.
* `ASGIWorker`: gunicorn's own (24 and newer), which can't be configured to another loop.
* `AiohttpWorker`: aiohttp's `GunicornWebWorker`, for aiohttp applications.

Each is made when it is first looked up, so that only what is used has to be installed.
"""

import asyncio
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._loop import new_event_loop

__all__ = ["ASGIWorker", "AiohttpWorker", "UvicornWorker"]

if TYPE_CHECKING:  # made by __getattr__
    ASGIWorker: type[Any]
    AiohttpWorker: type[Any]
    UvicornWorker: type[Any]


def _uvicorn_worker() -> type:
    base: Any = importlib.import_module("uvicorn_worker").UvicornWorker
    settings = {**base.CONFIG_KWARGS, "loop": "aioxide:new_event_loop"}
    return type("UvicornWorker", (base,), {"CONFIG_KWARGS": settings, "__module__": __name__})


def _asgi_worker() -> type:
    base: Any = importlib.import_module("gunicorn.workers.gasgi").ASGIWorker

    def _setup_event_loop(self: Any) -> None:
        # In place of the setting asgi_loop, which knows "asyncio" and "uvloop" only.
        self.loop = new_event_loop()
        asyncio.set_event_loop(self.loop)

    return type("ASGIWorker", (base,), {"_setup_event_loop": _setup_event_loop, "__module__": __name__})


def _aiohttp_worker() -> type:
    base: Any = importlib.import_module("aiohttp.worker").GunicornWebWorker
    # Its init_process makes the loop, and after that calls that of the next base class, which serves.
    plain_worker: Any = importlib.import_module("gunicorn.workers.base").Worker

    def init_process(self: Any) -> None:
        self.loop = new_event_loop()
        asyncio.set_event_loop(self.loop)
        plain_worker.init_process(self)

    return type("AiohttpWorker", (base,), {"init_process": init_process, "__module__": __name__})


_WORKERS: dict[str, Callable[[], type]] = {
    "ASGIWorker": _asgi_worker,
    "AiohttpWorker": _aiohttp_worker,
    "UvicornWorker": _uvicorn_worker,
}


def __getattr__(name: str) -> type:
    if name not in _WORKERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    worker = globals()[name] = _WORKERS[name]()
    return worker
