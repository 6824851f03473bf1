"""``python -m tests.tls.child LOOP MODULE``: runs a module's programs, and prints their histories as JSON."""

import asyncio
import gc
import importlib
import json
import sys

from .ends import plain


def history(program, factory):
    log, unhandled = [], []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: unhandled.append(f"{context['message']} {plain(context.get('exception'))}")
        )
        await asyncio.wait_for(program(log), 20)

    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
    except Exception as error:
        log.append(f"RAISED {plain(error)}")
    gc.collect()
    return {"log": log, "unhandled": unhandled}


def main(which, module):
    if which == "asyncio":
        factory = asyncio.SelectorEventLoop
    else:
        import aioxide

        factory = aioxide.new_event_loop
    programs = importlib.import_module(f"tests.tls.{module}").PROGRAMS
    print(json.dumps({program.__name__: history(program, factory) for program in programs}))


if __name__ == "__main__":
    main(*sys.argv[1:])
