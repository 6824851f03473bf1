"""On the path of every interpreter of a training run (scripts/guided): it ends by exit(3), where an instrumented
extension writes its counters, also when it is told to end, or would end by _exit(2) as the workers of pools do.
"""

import os
import signal
import threading


def leave(*_: object) -> None:
    # Not before: the imports of an interpreter that starts are to be those of any other.
    import ctypes

    # PyDLL keeps the GIL: no thread goes on counting meanwhile.
    ctypes.PyDLL(None).exit(0)


os._exit = leave
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGTERM, leave)
