"""What a type checker sees: all of asyncio, and ours in place of asyncio's where we have it.

The module itself is put together at import (`_namespace`); `python -m mypy.stubtest aioxide` compares them.
Where a submodule has a name that is ours, its others are listed one by one: type checkers disagree on which
of two definitions of a name holds.
"""

import sys
from asyncio import base_events as base_events
from asyncio import base_futures as base_futures
from asyncio import base_subprocess as base_subprocess
from asyncio import base_tasks as base_tasks
from asyncio import constants as constants
from asyncio import coroutines as coroutines
from asyncio import events as events
from asyncio import exceptions as exceptions
from asyncio import format_helpers as format_helpers
from asyncio import futures as futures
from asyncio import locks as locks
from asyncio import log as log
from asyncio import mixins as mixins
from asyncio import protocols as protocols
from asyncio import queues as queues
from asyncio import runners as runners
from asyncio import selector_events as selector_events
from asyncio import sslproto as sslproto
from asyncio import staggered as staggered
from asyncio import streams as streams
from asyncio import subprocess as subprocess
from asyncio import taskgroups as taskgroups
from asyncio import tasks as tasks
from asyncio import threads as threads
from asyncio import timeouts as timeouts
from asyncio import transports as transports
from asyncio import trsock as trsock
from asyncio import unix_events as unix_events
from asyncio.base_events import *  # noqa: F403
from asyncio.coroutines import *  # noqa: F403
from asyncio.events import (
    AbstractEventLoop as AbstractEventLoop,
)
from asyncio.events import (
    AbstractServer as AbstractServer,
)
from asyncio.events import (
    Handle as Handle,
)
from asyncio.events import (
    TimerHandle as TimerHandle,
)
from asyncio.events import (
    _get_running_loop as _get_running_loop,
)
from asyncio.events import (
    _set_running_loop as _set_running_loop,
)
from asyncio.events import (
    get_event_loop_policy as get_event_loop_policy,
)
from asyncio.events import (
    get_running_loop as get_running_loop,
)
from asyncio.events import (
    set_event_loop as set_event_loop,
)
from asyncio.events import (
    set_event_loop_policy as set_event_loop_policy,
)
from asyncio.exceptions import *  # noqa: F403
from asyncio.futures import (
    isfuture as isfuture,
)
from asyncio.futures import (
    wrap_future as wrap_future,
)
from asyncio.locks import *  # noqa: F403
from asyncio.protocols import *  # noqa: F403
from asyncio.queues import *  # noqa: F403
from asyncio.streams import *  # noqa: F403
from asyncio.subprocess import *  # noqa: F403
from asyncio.taskgroups import *  # noqa: F403
from asyncio.tasks import (
    ALL_COMPLETED as ALL_COMPLETED,
)
from asyncio.tasks import (
    FIRST_COMPLETED as FIRST_COMPLETED,
)
from asyncio.tasks import (
    FIRST_EXCEPTION as FIRST_EXCEPTION,
)
from asyncio.tasks import (
    _enter_task as _enter_task,
)
from asyncio.tasks import (
    _leave_task as _leave_task,
)
from asyncio.tasks import (
    _register_task as _register_task,
)
from asyncio.tasks import (
    _unregister_task as _unregister_task,
)
from asyncio.tasks import (
    all_tasks as all_tasks,
)
from asyncio.tasks import (
    as_completed as as_completed,
)
from asyncio.tasks import (
    create_task as create_task,
)
from asyncio.tasks import (
    current_task as current_task,
)
from asyncio.tasks import (
    ensure_future as ensure_future,
)
from asyncio.tasks import (
    gather as gather,
)
from asyncio.tasks import (
    run_coroutine_threadsafe as run_coroutine_threadsafe,
)
from asyncio.tasks import (
    shield as shield,
)
from asyncio.tasks import (
    sleep as sleep,
)
from asyncio.tasks import (
    wait as wait,
)
from asyncio.tasks import (
    wait_for as wait_for,
)
from asyncio.threads import *  # noqa: F403
from asyncio.timeouts import *  # noqa: F403
from asyncio.transports import *  # noqa: F403
from asyncio.unix_events import (
    SelectorEventLoop as SelectorEventLoop,
)

from . import shared as shared
from ._aioxide import Future as Future
from ._aioxide import Task as Task
from ._build import build_info as build_info
from ._cluster import BrokenCluster as BrokenCluster
from ._cluster import BrokenClusterWorker as BrokenClusterWorker
from ._cluster import ClusterExecutor as ClusterExecutor
from ._install import install as install
from ._install import installed as installed
from ._install import uninstall as uninstall
from ._loop import EventLoop as EventLoop
from ._loop import new_event_loop as new_event_loop
from ._policy import EventLoopPolicy as EventLoopPolicy
from ._policy import get_event_loop as get_event_loop
from ._processes import ProcessPoolExecutor as ProcessPoolExecutor
from ._runner import Runner as Runner
from ._runner import run as run
from ._threads import ThreadPoolExecutor as ThreadPoolExecutor

if sys.version_info >= (3, 12):
    from asyncio.tasks import create_eager_task_factory as create_eager_task_factory
    from asyncio.tasks import eager_task_factory as eager_task_factory

if sys.version_info >= (3, 14):
    from asyncio import graph as graph
    from asyncio.events import _AbstractEventLoopPolicy as AbstractEventLoopPolicy
    from asyncio.futures import future_add_to_awaited_by as future_add_to_awaited_by
    from asyncio.futures import future_discard_from_awaited_by as future_discard_from_awaited_by
    from asyncio.graph import *  # noqa: F403
    from asyncio.unix_events import _DefaultEventLoopPolicy as DefaultEventLoopPolicy
else:
    from asyncio.events import AbstractEventLoopPolicy as AbstractEventLoopPolicy
    from asyncio.events import get_child_watcher as get_child_watcher
    from asyncio.events import set_child_watcher as set_child_watcher
    from asyncio.unix_events import AbstractChildWatcher as AbstractChildWatcher
    from asyncio.unix_events import DefaultEventLoopPolicy as DefaultEventLoopPolicy
    from asyncio.unix_events import FastChildWatcher as FastChildWatcher
    from asyncio.unix_events import MultiLoopChildWatcher as MultiLoopChildWatcher
    from asyncio.unix_events import PidfdChildWatcher as PidfdChildWatcher
    from asyncio.unix_events import SafeChildWatcher as SafeChildWatcher
    from asyncio.unix_events import ThreadedChildWatcher as ThreadedChildWatcher

__version__: str
