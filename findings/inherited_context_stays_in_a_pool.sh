#!/bin/sh
# CPython 3.14.10 with -X thread_inherit_context=1 (the default of free-threaded builds), numpy 2.5.5.
#
# "Threads inherit the context of the caller of start()." In a concurrent.futures.ThreadPoolExecutor the caller of start()
# is whoever happened to submit the call for which a thread was missing. The thread keeps a copy of that context for life: all
# later calls run in it, whoever makes them. Here a request computes under numpy.errstate(divide="raise") and is over; the
# next one, outside of any errstate, gets a FloatingPointError for what is a warning everywhere else, and reads the first
# one's context variable. Without the option it does not.
#
# Seen:
#   default: inf, nobody
#   thread_inherit_context=1: FloatingPointError: divide by zero encountered in divide, the first request
#
# aioxide's thread pool starts its threads in submit(), too, and so does the default executor of its loop.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3.14}
"$python" -m pip install --quiet --disable-pip-version-check --target "$folder" numpy==2.5.5
cat > "$folder/program.py" <<'PROGRAM'
import contextvars, concurrent.futures, warnings
import numpy
warnings.simplefilter("ignore")
request = contextvars.ContextVar("request", default="nobody")
def divide():
    try:
        value = numpy.float64(1) / numpy.zeros(1)
        return f"{value[0]}, {request.get()}"
    except FloatingPointError as error:
        return f"FloatingPointError: {error}, {request.get()}"
with concurrent.futures.ThreadPoolExecutor(1) as pool:
    def first():
        request.set("the first request")
        with numpy.errstate(divide="raise"):
            pool.submit(int).result()
    contextvars.copy_context().run(first)
    print(pool.submit(divide).result())
PROGRAM
plain=$(PYTHONPATH="$folder" "$python" -X thread_inherit_context=0 "$folder/program.py")
inherits=$(PYTHONPATH="$folder" "$python" -X thread_inherit_context=1 "$folder/program.py")
echo "default: $plain"
echo "thread_inherit_context=1: $inherits"
[ "$plain" = "inf, nobody" ]
[ "$inherits" = "FloatingPointError: divide by zero encountered in divide, the first request" ]
