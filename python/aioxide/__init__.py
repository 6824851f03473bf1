"""asyncio with its event loop, tasks, futures, stream transports and executors in Rust.

Four ways in: `aioxide.run(main())` or `loop_factory=aioxide.new_event_loop`; `import aioxide as asyncio`;
`aioxide.install()` or `python -m aioxide app.py`; `asyncio.set_event_loop_policy(aioxide.EventLoopPolicy())`.
Importing this module changes nothing in the process.
"""

import sys as _sys

from . import _namespace
from ._build import build_info as build_info
from ._install import install as install
from ._install import installed as installed
from ._install import uninstall as uninstall
from ._loop import EventLoop as EventLoop
from ._loop import new_event_loop as new_event_loop
from ._policy import get_event_loop as get_event_loop
from ._runner import Runner as Runner
from ._runner import run as run

if _sys.version_info < (3, 14):  # from 3.14 on, looking it up warns: see _namespace.module_getattr
    from ._policy import EventLoopPolicy as EventLoopPolicy

# Copied, not forwarded one by one: a module's __getattr__ would cost a program that says `import aioxide as
# asyncio` a Python call for every `asyncio.sleep`.
for _name, _value in (_namespace.NATIVE | _namespace.other_names()).items():
    globals().setdefault(_name, _value)
del _name, _value

__all__ = _namespace.public_names(globals())
__getattr__ = _namespace.module_getattr
__dir__ = _namespace.module_dir
_namespace.alias_submodules(__name__)
