"""What aioxide sets out to reach, case by case: the one table of targets."""

from dataclasses import dataclass
from typing import Literal

from .series import FREED


@dataclass(frozen=True)
class Target:
    """`against` says whom aioxide is compared with.

    `best peer`: the peer with the highest median ratio in this run; `uvloop`: that one. Both want aioxide at
    least `factor` times as fast. `stock` (asyncio's own loop) and `limit` (the native server) want aioxide's
    cost at most `factor` times theirs; `warm` wants it at most `factor` times what the same call costs later,
    and `framework` at most `factor` times what a request costs without a loop: the framework by itself and the
    native server, together. `most` and `least` want the figure itself, in its unit, on the right side of
    `factor`; `ideal` wants the case's ideal cost, which arithmetic gives, to be at least `factor` of aioxide's.

    `of` is what is compared: the `cost` of the case, or another of its columns.
    """

    against: Literal["best peer", "uvloop", "stock", "limit", "warm", "framework", "most", "least", "ideal"]
    factor: float
    of: str = "cost"

    @property
    def at_most(self) -> bool:
        return self.against in ("stock", "limit", "warm", "framework", "most")

    def met(self, figure: float) -> bool:
        return figure <= self.factor if self.at_most else figure >= self.factor

    def quantity(self, figure: float, unit: str = "s") -> str:
        """A figure of this target for people."""
        if self.against not in ("most", "least", "ideal"):
            return f"{figure:.2f} x"
        if self.of in ("cost", "p99") and self.against == "most":
            return f"{figure:,.0f} B" if unit == "B" and self.of == "cost" else f"{figure * 1e3:.3g} ms"
        return f"{figure:.2f}" if self.of == "faults" else f"{figure:.1%}"

    def words(self, unit: str = "s") -> str:
        others = {"stock": "asyncio", "limit": "native epoll", "warm": "the warm call"}
        sign, what = "≤" if self.at_most else "≥", OF.get(self.of, self.of)
        if self.against in ("most", "least"):
            return f"{what}{sign} {self.quantity(self.factor, unit)}"
        if self.against == "ideal":
            return f"≥ {self.factor:.0%} of the ideal"
        other = others.get(self.against, self.against)
        other = "the framework's own + native epoll" if other == "framework" else other
        return f"{what}{sign} {self.factor:g} x {other}"


OF = {
    "cost": "",
    "cpu": "CPU ",
    "faults": "page faults ",
    "p99": "p99 ",
    "thread": "computing thread ",
    "idle": "computing thread beside the idle loop ",
}

Some = tuple[Target, ...]


def best(factor: float) -> Some:
    return (Target("best peer", factor),)


NO_SLOWER = best(1.0)
FEW_FAULTS = Target("most", 1.0, "faults")
KEEPS_ITS_SPEED = Target("least", 0.4, "thread")
# All of it, within what two measurements of a tenth of a second differ by.
IS_LET_ALONE = Target("least", 0.9, "idle")
KIB = 1024


def at(*sizes: int, wanted: Some) -> dict[int, Some]:
    return dict.fromkeys(sizes, wanted)


# Of each family, by size; a size that is not named, and every other state of malloc, is to be no slower than the best
# peer.
TARGETS: dict[str, dict[int, Some]] = {
    "call_soon_chain": {1: best(1.4)},
    "call_soon_queued": at(10_000, 100_000, 1_000_000, wanted=best(1.1)),
    "call_soon_threadsafe": {200_000: best(1.1)},
    "threadsafe_two_cores": {200_000: best(1.1)},
    "threadsafe_4_threads": {200_000: best(1.1)},
    "call_later_cancel": {1_000: best(1.4)},
    "call_later_fires": {},
    "timers_one_deadline": {10_000: best(1.1)},
    "sleep0": {1: best(1.7)},
    "create_task": {1: best(2.3)},
    "future_ping_pong": {2: best(3.0)},
    "gather": {1_000: best(1.4)},
    "taskgroup": {1_000: best(1.4)},
    "wait": {100: best(1.2)},
    "wait_for": {1: best(1.4)},
    "timeout": {1: best(1.4)},
    "lock": {10: best(1.4)},
    "event": {2: best(1.4)},
    "queue": {1: best(1.4)},
    "idle_task": at(10_000, 100_000, 1_000_000, wanted=(Target("stock", 0.95),)),
    "event_task": at(10_000, 100_000, 1_000_000, wanted=(Target("stock", 1.0),)),
    "idle_timer": {},
    # 100 connections fit in what the process had free.
    "idle_connection": {100: (), 10_000: (Target("most", 1024),)},
    "echo": {
        64: (Target("limit", 1.15),),
        KIB: (Target("limit", 1.05),),
        **at(20 * KIB, 100 * KIB, wanted=(*best(1.2), FEW_FAULTS)),
    },
    "echo_buffered": at(20 * KIB, 100 * KIB, wanted=best(1.1)),
    "echo_streams": at(20 * KIB, 100 * KIB, wanted=best(1.1)),
    "echo_connections": at(10, 100, wanted=(Target("limit", 1.05),)),
    "wake_idle": {10_000: best(1.1)},
    "sock_echo": at(KIB, 20 * KIB, 100 * KIB, wanted=(*NO_SLOWER, FEW_FAULTS)),
    "datagrams": at(200, 2_000, 20_000, 60_000, wanted=(*NO_SLOWER, FEW_FAULTS)),
    "pipe_echo": at(200, 2_000, 20_000, wanted=(*NO_SLOWER, FEW_FAULTS)),
    "accepted": {100: best(1.05)},
    "connect_echo": {10: (Target("limit", 1.2),)},
    "open_connection": {1: (Target("uvloop", 1.0),)},
    "beside_protocol_2": {
        1: (*NO_SLOWER, KEEPS_ITS_SPEED),
        10: (*best(5.0), Target("most", 0.006, "p99"), KEEPS_ITS_SPEED, IS_LET_ALONE),
        100: (*best(6.0), KEEPS_ITS_SPEED),
    },
    "beside_streams_2": {10: (*best(6.0), KEEPS_ITS_SPEED)},
    "beside_sock_2": {10: (*best(10.0), KEEPS_ITS_SPEED)},
    "beside_protocol_1": {},
    "beside_streams_1": {},
    "beside_sock_1": {},
    "uvicorn": {50: (*NO_SLOWER, Target("framework", 1.05, "cpu"))},
    "aiohttp": {50: (*NO_SLOWER, Target("framework", 1.05, "cpu"))},
    "to_thread": {1: best(2.0)},
    "to_thread_no_spin": {1: best(1.3)},
    "to_thread_one_core": {1: best(1.3)},
    "thread_gather": {1_000: best(3.0)},
    "thread_submit": {1: best(2.0)},
    "process_call": {100: best(1.8)},
    "process_gather": {500: best(6.0)},
    "process_map": {10_000: best(6.0)},
    "process_array": {16_000_000: best(10.0)},
    "process_array_first": {16_000_000: (Target("warm", 4.0),)},
    "process_array_second": {16_000_000: (Target("warm", 1.5),)},
    "process_cold_start": {2: best(1.2)},
    "process_memory": {},
    "process_efficiency": {1_000: (Target("ideal", 0.95),)},
}

# Where another target holds after one block was freed: the large reads of a fresh process, which cost the others much,
# are no matter there.
FREED_TARGETS: dict[str, dict[int, Some]] = {
    "echo": {
        **TARGETS["echo"],
        **at(20 * KIB, 100 * KIB, wanted=(*NO_SLOWER, FEW_FAULTS)),
    },
    "echo_connections": TARGETS["echo_connections"],
    "wake_idle": TARGETS["wake_idle"],
    "sock_echo": TARGETS["sock_echo"],
    "datagrams": TARGETS["datagrams"],
    "pipe_echo": TARGETS["pipe_echo"],
    "accepted": TARGETS["accepted"],
    "connect_echo": TARGETS["connect_echo"],
    "open_connection": TARGETS["open_connection"],
}


def targets_of(family: str, size: int, state: str = "") -> Some:
    """The targets of one case. Raises `KeyError` for a family that has no line above."""
    table = TARGETS[family]
    if state == FREED:
        table = FREED_TARGETS.get(family, {})
    return table.get(size, NO_SLOWER)
