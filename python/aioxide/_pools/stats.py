"""What the pools' `stats()` and `workers()` return.

No annotation of a field is a string: pydantic and others who read them would look names up in `aioxide`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from .checks import checked_number, refuse

if TYPE_CHECKING:
    from .. import _aioxide


@dataclass(frozen=True)
class Histogram:
    """How long something took, in seconds.

    Attributes:
        count: how many durations were measured.
        total: their sum.
        largest: the longest.
        buckets: pairs of a bound and the number of durations that are below it and not below the bound before;
            a bound is above what it counts by a quarter at most. Empty buckets are left out.
    """

    __module__ = "aioxide"  # where users import it from

    count: int
    total: float
    largest: float
    buckets: tuple[tuple[float, int], ...]

    @classmethod
    def from_native(cls, numbers: tuple[int, float, float, list[tuple[float, int]]]) -> Self:
        count, total, largest, buckets = numbers
        return cls(count, total, largest, tuple(buckets))

    @property
    def mean(self) -> float:
        """The mean, or 0 where nothing was measured."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, q: float) -> float:
        """Return the duration that a share `q` of all is not longer than, to within a quarter.

        Args:
            q: from 0 to 1; 0.5 is the median.

        Raises:
            TypeError: `q` is no number.
            ValueError: `q` is beyond that.
        """
        if not 0 <= checked_number("q", q, "a number from 0 to 1") <= 1:
            refuse("q", "a number from 0 to 1", q, ValueError)
        seen = 0
        for bound, count in self.buckets:
            seen += count
            if seen >= q * self.count:
                return min(bound, self.largest)
        return self.largest


@dataclass(frozen=True)
class ThreadPoolStats:
    """The state of a `ThreadPoolExecutor` at one moment, and what it has done since it was made.

    Attributes:
        queued: calls that wait for a thread, those included that were cancelled and not dropped yet.
        busy: threads that run a call.
        idle: threads that wait for one.
        threads: threads that serve the pool; `busy` and `idle` ones, and those between two calls.
        submitted: calls that the pool was given.
        done: calls that have returned.
        failed: calls that have raised, and those that a broken pool has failed.
        cancelled: calls that were cancelled before they ran, and dropped.
        wait: how long calls waited for a thread, in seconds.
        run: how long they ran, in seconds.
    """

    __module__ = "aioxide"

    queued: int
    busy: int
    idle: int
    threads: int
    submitted: int
    done: int
    failed: int
    cancelled: int
    wait: Histogram
    run: Histogram

    @classmethod
    def from_native(cls, busy: int, counts: "_aioxide._ThreadPoolCounts") -> Self:
        return cls(
            queued=counts.queued,
            busy=busy,
            idle=counts.idle,
            threads=counts.threads,
            submitted=counts.submitted,
            done=counts.done,
            failed=counts.failed,
            cancelled=counts.cancelled,
            wait=Histogram.from_native(counts.wait),
            run=Histogram.from_native(counts.run),
        )


@dataclass(frozen=True)
class ProcessPoolStats:
    """The state of a `ProcessPoolExecutor` at one moment, and what it has done since it was made.

    Attributes:
        queued: calls that wait for a worker.
        running: calls that are with a worker: running, or sent ahead.
        busy: workers that have a call.
        idle: workers that have none.
        workers: worker processes that are alive.
        submitted: calls that the pool was given.
        done: calls that have returned.
        failed: calls that have raised, or could not run.
        cancelled: calls that were cancelled before they ran, and dropped.
        restarts: workers that were started in place of others.
        rss: resident memory of all workers, in bytes.
        shared_bytes: memory in which large arguments travel, in bytes.
        wait: how long calls waited for a worker, in seconds, the way there and back included.
        run: how long they ran, in seconds.
    """

    __module__ = "aioxide"

    queued: int
    running: int
    busy: int
    idle: int
    workers: int
    submitted: int
    done: int
    failed: int
    cancelled: int
    restarts: int
    rss: int
    shared_bytes: int
    wait: Histogram
    run: Histogram


@dataclass(frozen=True)
class WorkerInfo:
    """A worker process, as `ProcessPoolExecutor.workers()` found it.

    Attributes:
        pid: the process.
        rss: its resident memory in bytes.
        calls: calls that are with it: the one that runs, and those sent ahead.
        done: calls that it has finished.
        running: seconds for which its current call has run; None if it runs none.
        idle: seconds since it has had a call; None if it has one.
        ready: it has started up (and run its initializer), and gets calls.
    """

    __module__ = "aioxide"

    pid: int
    rss: int
    calls: int
    done: int
    running: float | None
    idle: float | None
    ready: bool
