/* The least that a loop in C can do: a queue and the interpreter's own calls; no descriptors, no cancelling, and timers
 * that never fire.
 *
 * What a case costs on it is the interpreter's part, which no loop can undercut: the callback or the coroutine that is
 * run, its context, and what asyncio's Python code does around it. It has just enough of a loop and of a task for the
 * cases of benches/groups that say `limit=FLOOR`. Objects come from freelists and are no business of the garbage
 * collector's, which an honest loop could not afford.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#if PY_VERSION_HEX >= 0x030E0000
#define Py_BUILD_CORE 1
#include <internal/pycore_tstate.h>
#endif
#include <time.h>

typedef struct {
    PyObject *call;    /* a callable, or a Task that is to be stepped */
    PyObject *args;    /* a tuple, or NULL */
    PyObject *context; /* NULL with a Task, which has its own */
} Entry;

typedef struct {
    PyObject_HEAD
    Entry *entries;
    size_t head, count, room; /* room is a power of two */
    int stopping;
    PyObject *context; /* what was current when the loop was made: no case sets a variable, so all callbacks may share it */
} Loop;

typedef struct {
    PyObject_HEAD
    PyObject *loop, *coro, *context;
    PyObject *waiter;    /* the Task that awaits this one */
    PyObject *callbacks; /* a list, or NULL */
    PyObject *result, *exception;
    int done;
} Task;

typedef struct {
    PyObject_HEAD
    PyObject *task;
} Wait;

static PyTypeObject LoopType, TaskType, WaitType, TimerType;
static PyObject *set_running_loop, *never;

#define FREE_MAX 4096
static PyObject *free_tasks[FREE_MAX], *free_waits[FREE_MAX];
static int free_tasks_count, free_waits_count;

static PyObject *take(PyObject **list, int *count, PyTypeObject *type)
{
    if (*count == 0)
        return _PyObject_New(type);
    PyObject *object = list[--*count];
    _Py_NewReference(object);
    return object;
}

static void give_back(PyObject **list, int *count, PyObject *object)
{
    if (*count < FREE_MAX)
        list[(*count)++] = object;
    else
        PyObject_Free(object);
}

/* Takes over all three references. */
static int push(Loop *self, PyObject *call, PyObject *args, PyObject *context)
{
    if (self->count == self->room) {
        size_t room = self->room ? 2 * self->room : 64;
        Entry *entries = PyMem_Malloc(room * sizeof(Entry));
        if (!entries) {
            PyErr_NoMemory();
            return -1;
        }
        for (size_t i = 0; i < self->count; i++)
            entries[i] = self->entries[(self->head + i) & (self->room - 1)];
        PyMem_Free(self->entries);
        self->entries = entries, self->head = 0, self->room = room;
    }
    self->entries[(self->head + self->count++) & (self->room - 1)] = (Entry){call, args, context};
    return 0;
}

static int finish(Task *self)
{
    Loop *loop = (Loop *)self->loop;
    PyObject *waiter = self->waiter, *callbacks = self->callbacks;
    self->done = 1;
    self->waiter = self->callbacks = NULL;
    Py_CLEAR(self->coro);
    if (waiter && push(loop, waiter, NULL, NULL) < 0)
        return -1;
    for (Py_ssize_t i = 0; callbacks && i < PyList_GET_SIZE(callbacks); i++) {
        PyObject *callback = Py_NewRef(PyList_GET_ITEM(callbacks, i));
        if (push(loop, callback, PyTuple_Pack(1, self), Py_NewRef(self->context)) < 0)
            return -1;
    }
    Py_XDECREF(callbacks);
    return 0;
}

/* Wait for a future that is none of ours, such as gather's. */
static int wait_for_other(Task *self, PyObject *future)
{
    PyObject *wakeup = PyObject_GetAttrString((PyObject *)self, "_wakeup");
    if (!wakeup || PyObject_SetAttrString(future, "_asyncio_future_blocking", Py_False) < 0)
        return -1;
    PyObject *added = PyObject_CallMethod(future, "add_done_callback", "O", wakeup);
    Py_DECREF(wakeup);
    Py_XDECREF(added);
    return added ? 0 : -1;
}

/* asyncio.current_task() and what goes by it, such as asyncio.timeout(), find the task: from 3.14 on in the thread's
 * state; before, where calling asyncio each time would cost more than all else here, they do not.
 */
static void make_current(Task *self)
{
#if PY_VERSION_HEX >= 0x030E0000
    ((_PyThreadStateImpl *)PyThreadState_Get())->asyncio_running_task = (PyObject *)self;
#else
    (void)self;
#endif
}

static int step(Task *self)
{
    PyObject *sent;
    PyContext_Enter(self->context);
    make_current(self);
    PySendResult how = PyIter_Send(self->coro, Py_None, &sent);
    make_current(NULL);
    PyContext_Exit(self->context);
    if (how == PYGEN_RETURN) {
        self->result = sent;
        return finish(self);
    }
    if (how == PYGEN_ERROR) {
        self->exception = PyErr_GetRaisedException();
        return finish(self);
    }
    int failed = 0;
    if (sent == Py_None)
        failed = push((Loop *)self->loop, Py_NewRef((PyObject *)self), NULL, NULL);
    else if (Py_IS_TYPE(sent, &TaskType))
        ((Task *)sent)->waiter = Py_NewRef((PyObject *)self);
    else
        failed = wait_for_other(self, sent);
    Py_DECREF(sent);
    return failed;
}

static int run_entry(Entry entry)
{
    int failed;
    if (Py_IS_TYPE(entry.call, &TaskType)) {
        failed = step((Task *)entry.call);
    } else {
        PyContext_Enter(entry.context);
        PyObject *result = entry.args ? PyObject_Call(entry.call, entry.args, NULL) : PyObject_CallNoArgs(entry.call);
        PyContext_Exit(entry.context);
        failed = result ? 0 : -1;
        Py_XDECREF(result);
    }
    Py_DECREF(entry.call);
    Py_XDECREF(entry.args);
    Py_XDECREF(entry.context);
    return failed;
}

static int set_running(PyObject *loop)
{
    PyObject *done = PyObject_CallOneArg(set_running_loop, loop);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* Until stop(), or until `until` is done; the queue never runs dry in a case that works. */
static int run(Loop *self, Task *until)
{
    int failed = set_running((PyObject *)self);
    self->stopping = 0;
    while (!failed && !self->stopping && !(until && until->done)) {
        if (self->count == 0) {
            PyErr_SetString(PyExc_RuntimeError, "nothing is left to run, and the floor has no descriptors");
            failed = -1;
            break;
        }
        Entry entry = self->entries[self->head];
        self->head = (self->head + 1) & (self->room - 1);
        self->count--;
        failed = run_entry(entry);
    }
    PyObject *error = PyErr_GetRaisedException();
    int left = set_running(Py_None);
    if (error)
        PyErr_SetRaisedException(error);
    return failed || left ? -1 : 0;
}

static PyObject *loop_run_forever(Loop *self, PyObject *Py_UNUSED(ignored))
{
    return run(self, NULL) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *loop_stop(Loop *self, PyObject *Py_UNUSED(ignored))
{
    self->stopping = 1;
    Py_RETURN_NONE;
}

static PyObject *no(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_FALSE;
}

static PyObject *nothing(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE;
}

static PyObject *loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    Loop *self = (Loop *)type->tp_alloc(type, 0);
    if (self && !(self->context = PyContext_CopyCurrent()))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *loop_time(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return PyFloat_FromDouble((double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
}

/* call_at(when, callback, *args): one and the same timer, which does not fire and can be cancelled. */
static PyObject *loop_call_at(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args))
{
    return Py_NewRef(never);
}

/* call_soon(callback, *args, context=None) */
static PyObject *loop_call_soon(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    PyObject *context = names && PyTuple_GET_SIZE(names) ? args[nargs] : Py_None;
    PyObject *own = Py_NewRef(context == Py_None ? self->context : context);
    PyObject *more = NULL;
    if (nargs > 1) {
        more = PyTuple_New(nargs - 1);
        for (Py_ssize_t i = 1; more && i < nargs; i++)
            PyTuple_SET_ITEM(more, i - 1, Py_NewRef(args[i]));
    }
    if (push(self, Py_NewRef(args[0]), more, own) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* create_task(coro, **anything): names and contexts are left out. */
static PyObject *loop_create_task(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *Py_UNUSED(names))
{
    if (nargs != 1) {
        PyErr_SetString(PyExc_TypeError, "create_task() takes one coroutine");
        return NULL;
    }
    Task *task = (Task *)take(free_tasks, &free_tasks_count, &TaskType);
    if (!task)
        return NULL;
    task->loop = Py_NewRef((PyObject *)self);
    task->coro = Py_NewRef(args[0]);
    task->context = PyContext_CopyCurrent();
    task->waiter = task->callbacks = task->result = task->exception = NULL;
    task->done = 0;
    if (push(self, Py_NewRef((PyObject *)task), NULL, NULL) < 0)
        return NULL;
    return (PyObject *)task;
}

static PyObject *outcome(Task *self)
{
    if (self->exception) {
        PyErr_SetRaisedException(Py_NewRef(self->exception));
        return NULL;
    }
    return Py_XNewRef(self->result);
}

static PyObject *loop_run_until_complete(Loop *self, PyObject *coro)
{
    Task *task = (Task *)loop_create_task(self, &coro, 1, NULL);
    if (!task || run(self, task) < 0)
        return NULL;
    PyObject *result = outcome(task);
    Py_DECREF(task);
    return result;
}

static PyMethodDef loop_methods[] = {
    {"call_soon", (PyCFunction)(void (*)(void))loop_call_soon, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"create_task", (PyCFunction)(void (*)(void))loop_create_task, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"run_until_complete", (PyCFunction)loop_run_until_complete, METH_O, NULL},
    {"run_forever", (PyCFunction)loop_run_forever, METH_NOARGS, NULL},
    {"stop", (PyCFunction)loop_stop, METH_NOARGS, NULL},
    {"time", loop_time, METH_NOARGS, NULL},
    {"call_at", loop_call_at, METH_VARARGS, NULL},
    {"get_debug", no, METH_NOARGS, NULL},
    {"create_server", nothing, METH_NOARGS, NULL},
    {"close", nothing, METH_NOARGS, NULL},
    {NULL},
};

static PyTypeObject LoopType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "benches.floor.Loop",
    .tp_basicsize = sizeof(Loop),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = loop_new,
    .tp_methods = loop_methods,
};

static PyMethodDef timer_methods[] = {
    {"cancel", nothing, METH_NOARGS, NULL},
    {NULL},
};

static PyTypeObject TimerType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "benches.floor.Timer",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_methods = timer_methods,
};

static void task_dealloc(Task *self)
{
    Py_XDECREF(self->loop);
    Py_XDECREF(self->coro);
    Py_XDECREF(self->context);
    Py_XDECREF(self->waiter);
    Py_XDECREF(self->callbacks);
    Py_XDECREF(self->result);
    Py_XDECREF(self->exception);
    give_back(free_tasks, &free_tasks_count, (PyObject *)self);
}

static PyObject *task_add_done_callback(Task *self, PyObject *const *args, Py_ssize_t nargs, PyObject *Py_UNUSED(names))
{
    if (!self->callbacks && !(self->callbacks = PyList_New(0)))
        return NULL;
    if (nargs < 1 || PyList_Append(self->callbacks, args[0]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *task_result(Task *self, PyObject *Py_UNUSED(ignored))
{
    return outcome(self);
}

static PyObject *task_exception(Task *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->exception ? self->exception : Py_None);
}

static PyObject *task_done(Task *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->done);
}

static PyObject *task_cancelling(Task *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(0);
}

static PyObject *task_get_loop(Task *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->loop);
}

static PyObject *task_wakeup(Task *self, PyObject *Py_UNUSED(future))
{
    if (push((Loop *)self->loop, Py_NewRef((PyObject *)self), NULL, NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *task_await(PyObject *self)
{
    Wait *wait = (Wait *)take(free_waits, &free_waits_count, &WaitType);
    if (wait)
        wait->task = Py_NewRef(self);
    return (PyObject *)wait;
}

static int ignore(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value), void *Py_UNUSED(closure))
{
    return 0;
}

static PyMethodDef task_methods[] = {
    {"add_done_callback", (PyCFunction)(void (*)(void))task_add_done_callback, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"result", (PyCFunction)task_result, METH_NOARGS, NULL},
    {"exception", (PyCFunction)task_exception, METH_NOARGS, NULL},
    {"done", (PyCFunction)task_done, METH_NOARGS, NULL},
    {"cancelled", no, METH_NOARGS, NULL},
    {"cancelling", (PyCFunction)task_cancelling, METH_NOARGS, NULL},
    {"uncancel", (PyCFunction)task_cancelling, METH_NOARGS, NULL},
    {"get_loop", (PyCFunction)task_get_loop, METH_NOARGS, NULL},
    {"_wakeup", (PyCFunction)task_wakeup, METH_O, NULL},
    {NULL},
};

static PyGetSetDef task_attributes[] = {
    {"_log_destroy_pending", NULL, ignore, NULL, NULL},
    {NULL},
};

static PyAsyncMethods task_async = {.am_await = task_await};

static PyTypeObject TaskType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "benches.floor.Task",
    .tp_basicsize = sizeof(Task),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)task_dealloc,
    .tp_methods = task_methods,
    .tp_getset = task_attributes,
    .tp_as_async = &task_async,
};

static void wait_dealloc(Wait *self)
{
    Py_XDECREF(self->task);
    give_back(free_waits, &free_waits_count, (PyObject *)self);
}

/* The task itself first, for whoever steps the awaiting one; what came of it when that happens again. */
static PySendResult wait_send(PyObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    Task *task = (Task *)((Wait *)self)->task;
    if (!task->done) {
        *result = Py_NewRef((PyObject *)task);
        return PYGEN_NEXT;
    }
    *result = outcome(task);
    return *result ? PYGEN_RETURN : PYGEN_ERROR;
}

static PyObject *wait_next(PyObject *self)
{
    PyObject *result;
    PySendResult how = wait_send(self, Py_None, &result);
    if (how != PYGEN_RETURN)
        return result;
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (stop)
        PyErr_SetRaisedException(stop);
    return NULL;
}

static PyAsyncMethods wait_async = {.am_send = wait_send};

static PyTypeObject WaitType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "benches.floor.Wait",
    .tp_basicsize = sizeof(Wait),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)wait_dealloc,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = wait_next,
    .tp_as_async = &wait_async,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "floor", .m_size = -1};

PyMODINIT_FUNC PyInit_floor(void)
{
    PyObject *events = PyImport_ImportModule("asyncio.events");
    if (!events || !(set_running_loop = PyObject_GetAttrString(events, "_set_running_loop")))
        return NULL;
    Py_DECREF(events);
    if (PyType_Ready(&LoopType) < 0 || PyType_Ready(&TaskType) < 0 || PyType_Ready(&WaitType) < 0 ||
        PyType_Ready(&TimerType) < 0 || !(never = _PyObject_New(&TimerType)))
        return NULL;
    PyObject *made = PyModule_Create(&module);
    if (made && PyModule_AddObjectRef(made, "Loop", (PyObject *)&LoopType) < 0)
        return NULL;
    return made;
}
