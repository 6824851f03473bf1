"""What a run of the tests has left out, and why, in a few lines.

usage: python -m tests.support.skips FILE      FILE: where several runs have left the reasons (tests/conftest.py)
"""

import re
import sys
from collections import Counter
from pathlib import Path

TITLE = "what was skipped, and why"

# A skip whose reason starts so depends on the Python alone, not on what is installed on the machine.
BY_VERSION = "by version: "

KINDS = ("for this Python's version", "for packages that are missing", "for this machine")


def reason_of(report):
    """The reason given for a skip; pytest keeps it as (path, line, 'Skipped: reason')."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


def kind_of(reason):
    if reason.startswith(BY_VERSION):
        return KINDS[0]
    return KINDS[1] if re.search(r"\(tests/\w+/requirements\.txt\)$", reason) else KINDS[2]


def summary(reasons):
    """Lines that say how many of `reasons` (one a skip) are of which kind, and of each kind what they say."""
    counts = {kind: Counter() for kind in KINDS}
    for reason in reasons:
        counts[kind_of(reason)][reason.removeprefix(BY_VERSION)] += 1
    for kind, found in counts.items():
        if found:
            yield f"{found.total()} skipped {kind}:"
            yield from (f"{count:6}  {reason}" for reason, count in found.most_common())
    if counts[KINDS[1]]:
        yield "`make test` installs these packages; where it could not, it has said so above."


def keep(reasons, path):
    """Add the reasons of one run to a file, a line each."""
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(" ".join(reason.split()) + "\n" for reason in reasons)


def main(path):
    """Say what the runs that wrote into a file have left out; nothing where they left nothing out."""
    reasons = Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []
    if reasons:
        print(f" {TITLE} ".center(80, "="), *summary(reasons), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1])
