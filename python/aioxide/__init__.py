"""asyncio with its event loop, tasks, futures, stream transports and executors in Rust.

Four ways in: `aioxide.run(main())` or `loop_factory=aioxide.new_event_loop`; `import aioxide as asyncio`;
`aioxide.install()` or `python -m aioxide app.py`; `asyncio.set_event_loop_policy(aioxide.EventLoopPolicy())`.
Importing this module changes nothing in the process.
"""

import sys as _sys
from typing import Any as _Any

from ._aioxide import SocketTransport as _SelectorSocketTransport  # noqa: F401  (which its type says)
from ._entry import namespace as _namespace
from ._entry.build import build_info as build_info
from ._entry.install import install as install, installed as installed, uninstall as uninstall
from ._entry.policy import get_event_loop as get_event_loop
from ._entry.runner import Runner as Runner, run as run
from ._loop import EventLoop as EventLoop, new_event_loop as new_event_loop

if _sys.version_info < (3, 14):  # from 3.14 on, looking it up warns: see namespace.module_getattr
    from ._entry.policy import EventLoopPolicy as EventLoopPolicy

# Its public functions and classes say that they are this module's: in their repr, in tracebacks and in pickles.
_value: _Any
for _value in (
    EventLoop,
    Runner,
    build_info,
    get_event_loop,
    install,
    installed,
    new_event_loop,
    run,
    uninstall,
):
    _value.__module__ = __name__

# Copied, not forwarded one by one: a module's __getattr__ would cost a program that says `import aioxide as
# asyncio` a Python call for every `asyncio.sleep`.
for _name, _value in (_namespace.NATIVE | _namespace.other_names()).items():
    globals().setdefault(_name, _value)
del _name, _value

__all__ = _namespace.public_names(globals())
__getattr__ = _namespace.module_getattr
__dir__ = _namespace.module_dir
_namespace.alias_submodules(__name__)
