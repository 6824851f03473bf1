"""Importing aioxide changes nothing in the process."""

import textwrap

from tests.support.interpreters import output_of

# Run with and without `import aioxide` in the middle; both print what changed meanwhile, which has to be
# nothing.
SNAPSHOTS = textwrap.dedent(
    """
    import asyncio, concurrent.futures, gc, io, os, pickle, signal, sys, threading, warnings

    def snapshot():
        modules = {name: module for name, module in sys.modules.items() if name.startswith("asyncio")}
        state = {
            (name, key): id(value)
            for name, module in {**modules, "_asyncio": sys.modules["_asyncio"]}.items()
            for key, value in vars(module).items()
            if key != "__annotations__"
        }
        for name, cls in vars(asyncio).items():
            if isinstance(cls, type):
                state.update({(name, key, "in class"): id(value) for key, value in vars(cls).items()})
                state[name, "__new__ slot"] = cls.__new__ is object.__new__
        state.update({("signal", number): signal.getsignal(number) for number in signal.valid_signals()})
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        state.update(
            threads=[thread.name for thread in threading.enumerate()],
            tasks=len(os.listdir("/proc/self/task")),
            fds=sorted(os.listdir("/proc/self/fd")),
            wakeup=wakeup,
            switch_interval=sys.getswitchinterval(),
            gc=(gc.get_threshold(), gc.isenabled(), list(gc.callbacks)),
            hooks=(sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook),
            asyncgen_hooks=sys.get_asyncgen_hooks(),
            trace=(sys.gettrace(), sys.getprofile()),
            warnings=list(warnings.filters),
            meta_path=list(sys.meta_path),
            path_hooks=list(sys.path_hooks),
            path=list(sys.path),
            environment=dict(os.environ),
            main=[name for name in vars(sys.modules["__main__"]) if name not in ("aioxide", "before",
            "after")],
        )
        return state

    before = snapshot()
    import aioxide
    after = snapshot()
    for key in sorted(before.keys() | after.keys(), key=str):
        if before.get(key) != after.get(key):
            print("changed:", key, before.get(key), after.get(key))
    print("policy:", asyncio.events._event_loop_policy)
    print("multiprocessing:", "multiprocessing" in sys.modules)
    print("not asyncio's:", [name for name in sys.modules if name.startswith("aioxide.") and "_" not in name
                             and not sys.modules[name].__name__.startswith("asyncio.")])
    """
)


def test_import_changes_nothing():
    printed = output_of("-W", "error", "-c", SNAPSHOTS)
    assert printed.splitlines() == ["policy: None", "multiprocessing: False", "not asyncio's: []"]


def test_the_snapshot_sees_changes():
    printed = output_of("-c", SNAPSHOTS.replace("import aioxide\n", "import aioxide\naioxide.install()\n"))
    assert "changed: ('asyncio', 'new_event_loop')" in printed


def test_import_starts_no_thread_that_would_make_fork_warn():
    # From 3.12 on os.fork() warns when the process has more than one thread.
    program = (
        "import aioxide, os, sys; pid = os.fork(); pid or os._exit(7); print(os.waitpid(pid, 0)[1] >> 8)"
    )
    assert output_of("-W", "error", "-c", program) == "7\n"


def test_import_leaves_no_task_behind():
    """At import we look into a few of CPython's own tasks; `asyncio ps` must not find them in the process."""
    program = """
    import gc
    gc.disable()
    import _asyncio, aioxide
    print([each for each in gc.get_objects() if isinstance(each, _asyncio.Task | _asyncio.Future)])
    """
    assert output_of("-c", textwrap.dedent(program)) == "[]\n"


def test_import_loads_no_room_that_only_some_programs_need():
    """Each module costs a tenth of a millisecond; pools and `install()` load theirs when they are asked for."""
    ours = "sorted(name for name in sys.modules if name.startswith('aioxide._') and '.' in name[9:])"
    program = f"import sys, aioxide; print(*{ours})"
    names = "datagrams docs loop patched registry sock_calls sockets tls"
    loop = [f"_loop.{name}" for name in names.split()]
    entry = [f"_entry.{name}" for name in "build install namespace policy runner".split()]
    assert output_of("-c", program).split() == [f"aioxide.{name}" for name in entry + loop]
