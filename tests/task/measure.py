"""Run as a program: ``measure.py DEED...`` writes, for each deed, by how much each batch of it made something grow."""

import itertools
import json
import logging
import sys
import warnings

import aioxide

from .deeds import DEEDS, collect

CYCLES = 40
BATCHES = 8

# Each reference counts in a debug build of CPython; elsewhere only whole objects do.
count = getattr(sys, "gettotalrefcount", sys.getallocatedblocks)


def measure(name):
    """Growth from batch to batch."""
    loop = aioxide.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    counts = []
    for _ in range(BATCHES + 1):
        for _ in range(CYCLES):
            DEEDS[name](loop)
        collect()
        counts.append(count())
    loop.close()
    return [later - earlier for earlier, later in itertools.pairwise(counts)]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable()
    json.dump({name: measure(name) for name in sys.argv[1:] or DEEDS}, sys.stdout)
