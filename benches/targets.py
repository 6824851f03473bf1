"""What aioxide sets out to reach, case by case: the one table of targets."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """`against` says whom aioxide is compared with.

    `best peer`: the peer with the highest median ratio in this run; `uvloop`: that one. Both want aioxide at
    least `factor` times as fast. `stock` (asyncio's own loop) and `limit` (the native epoll server) want
    aioxide's cost at most `factor` times theirs; `bytes` wants the cost itself, in bytes, at most `factor`;
    `ideal` wants the case's ideal cost, which arithmetic gives, to be at least `factor` of aioxide's.
    """

    against: Literal["best peer", "uvloop", "stock", "limit", "bytes", "ideal"]
    factor: float

    @property
    def at_most(self) -> bool:
        return self.against in ("stock", "limit", "bytes")

    def met(self, figure: float) -> bool:
        return figure <= self.factor if self.at_most else figure >= self.factor

    def __str__(self) -> str:
        if self.against == "bytes":
            return f"≤ {self.factor:,.0f} B"
        if self.against == "ideal":
            return f"≥ {self.factor:.0%} of the ideal"
        if self.at_most:
            return f"≤ {self.factor:g} x {'asyncio' if self.against == 'stock' else 'native epoll'}"
        return f"≥ {self.factor:g} x {self.against}"


TARGETS = {
    "call_soon_chain": Target("best peer", 1.4),
    "call_soon_batch": Target("best peer", 1.0),
    "call_soon_threadsafe": Target("best peer", 1.1),
    "call_later_cancel": Target("best peer", 1.4),
    "call_later_fires": Target("best peer", 1.0),
    "sleep0": Target("best peer", 1.7),
    "create_task": Target("best peer", 2.3),
    "future_ping_pong": Target("best peer", 3.0),
    "gather": Target("best peer", 1.4),
    "taskgroup": Target("best peer", 1.4),
    "wait_for": Target("best peer", 1.4),
    "timeout": Target("best peer", 1.4),
    "lock": Target("best peer", 1.4),
    "event": Target("best peer", 1.4),
    "queue": Target("best peer", 1.4),
    "wait": Target("best peer", 1.2),
    "idle_task": Target("stock", 0.95),
    "echo_64_10": Target("limit", 1.15),
    "echo_64_100": Target("limit", 1.15),
    "echo_1k_10": Target("limit", 1.15),
    "echo_1k_100": Target("limit", 1.15),
    "echo_100k": Target("best peer", 1.0),
    "accepted": Target("best peer", 1.05),
    "open_connection": Target("uvloop", 1.0),
    "idle_connection": Target("bytes", 1024),
    "uvicorn": Target("best peer", 1.05),
    "aiohttp": Target("best peer", 1.05),
    "to_thread": Target("best peer", 2.0),
    "to_thread_no_spin": Target("best peer", 1.3),
    "to_thread_one_core": Target("best peer", 1.3),
    "thread_gather": Target("best peer", 3.0),
    "thread_submit": Target("best peer", 2.0),
    "process_call": Target("best peer", 1.8),
    "process_gather": Target("best peer", 6.0),
    "process_map": Target("best peer", 6.0),
    "process_array": Target("best peer", 10.0),
    "process_cold_start": Target("best peer", 1.2),
    "process_memory": Target("best peer", 1.0),
    "process_efficiency": Target("ideal", 0.95),
}
