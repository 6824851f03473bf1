"""What a run of the tests has left out, and why, in a few lines."""

import re
from collections import Counter

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
