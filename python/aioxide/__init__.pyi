"""What a type checker sees: all of asyncio, and ours in place of asyncio's where we have it.

The module itself is put together at import (`_entry/namespace.py`); `python -m mypy.stubtest aioxide` compares them.
Where a submodule has a name that is ours, its others are listed one by one: type checkers disagree on which
of two definitions of a name holds. `Task` and `Future` are asyncio's own classes here: ours derive from them,
`isinstance` takes each for the other, and what asyncio has annotated means theirs. Told apart, `tasks:
set[asyncio.Task[Any]] = asyncio.all_tasks()` would be an error in a program that says `import aioxide as asyncio`.
"""

import sys
from asyncio import (
    base_events as base_events,
    base_futures as base_futures,
    base_subprocess as base_subprocess,
    base_tasks as base_tasks,
    constants as constants,
    coroutines as coroutines,
    events as events,
    exceptions as exceptions,
    format_helpers as format_helpers,
    futures as futures,
    locks as locks,
    log as log,
    mixins as mixins,
    protocols as protocols,
    queues as queues,
    runners as runners,
    selector_events as selector_events,
    sslproto as sslproto,
    staggered as staggered,
    streams as streams,
    subprocess as subprocess,
    taskgroups as taskgroups,
    tasks as tasks,
    threads as threads,
    timeouts as timeouts,
    transports as transports,
    trsock as trsock,
    unix_events as unix_events,
)
from asyncio.base_events import *  # noqa: F403
from asyncio.coroutines import *  # noqa: F403
from asyncio.events import (
    AbstractEventLoop as AbstractEventLoop,
    AbstractServer as AbstractServer,
    Handle as Handle,
    TimerHandle as TimerHandle,
    _get_running_loop as _get_running_loop,
    _set_running_loop as _set_running_loop,
    get_event_loop_policy as get_event_loop_policy,
    get_running_loop as get_running_loop,
    set_event_loop as set_event_loop,
    set_event_loop_policy as set_event_loop_policy,
)
from asyncio.exceptions import *  # noqa: F403
from asyncio.futures import (
    Future as Future,
    isfuture as isfuture,
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
    FIRST_COMPLETED as FIRST_COMPLETED,
    FIRST_EXCEPTION as FIRST_EXCEPTION,
    Task as Task,
    _enter_task as _enter_task,
    _leave_task as _leave_task,
    _register_task as _register_task,
    _unregister_task as _unregister_task,
    all_tasks as all_tasks,
    as_completed as as_completed,
    create_task as create_task,
    current_task as current_task,
    ensure_future as ensure_future,
    gather as gather,
    run_coroutine_threadsafe as run_coroutine_threadsafe,
    shield as shield,
    sleep as sleep,
    wait as wait,
    wait_for as wait_for,
)
from asyncio.threads import *  # noqa: F403
from asyncio.timeouts import *  # noqa: F403
from asyncio.transports import *  # noqa: F403
from asyncio.unix_events import (
    SelectorEventLoop as SelectorEventLoop,
)

from _aioxide_worker import TaskCancelled as TaskCancelled

from . import shared as shared
from ._cluster import (
    BrokenCluster as BrokenCluster,
    BrokenClusterWorker as BrokenClusterWorker,
    ClusterExecutor as ClusterExecutor,
    ClusterFuture as ClusterFuture,
)
from ._entry.build import build_info as build_info
from ._entry.install import install as install, installed as installed, uninstall as uninstall
from ._entry.policy import EventLoopPolicy as EventLoopPolicy, get_event_loop as get_event_loop
from ._entry.runner import Runner as Runner, run as run
from ._loop import EventLoop as EventLoop, new_event_loop as new_event_loop
from ._pools.futures import AwaitableFuture as AwaitableFuture, PoolFuture as PoolFuture
from ._pools.stats import (
    Histogram as Histogram,
    ProcessPoolStats as ProcessPoolStats,
    ThreadPoolStats as ThreadPoolStats,
    WorkerInfo as WorkerInfo,
)
from ._processes import (
    ProcessPoolExecutor as ProcessPoolExecutor,
    TransferError as TransferError,
    WorkerDied as WorkerDied,
)
from ._threads import ThreadPoolExecutor as ThreadPoolExecutor

if sys.version_info >= (3, 12):
    from asyncio.tasks import (
        create_eager_task_factory as create_eager_task_factory,
        eager_task_factory as eager_task_factory,
    )

if sys.version_info >= (3, 14):
    from asyncio import graph as graph
    from asyncio.events import _AbstractEventLoopPolicy as AbstractEventLoopPolicy
    from asyncio.futures import (
        future_add_to_awaited_by as future_add_to_awaited_by,
        future_discard_from_awaited_by as future_discard_from_awaited_by,
    )
    from asyncio.graph import *  # noqa: F403
    from asyncio.unix_events import _DefaultEventLoopPolicy as DefaultEventLoopPolicy
else:
    from asyncio.events import (
        AbstractEventLoopPolicy as AbstractEventLoopPolicy,
        get_child_watcher as get_child_watcher,
        set_child_watcher as set_child_watcher,
    )
    from asyncio.unix_events import (
        AbstractChildWatcher as AbstractChildWatcher,
        DefaultEventLoopPolicy as DefaultEventLoopPolicy,
        FastChildWatcher as FastChildWatcher,
        MultiLoopChildWatcher as MultiLoopChildWatcher,
        PidfdChildWatcher as PidfdChildWatcher,
        SafeChildWatcher as SafeChildWatcher,
        ThreadedChildWatcher as ThreadedChildWatcher,
    )

__version__: str
