"""What a case is measured at: the sizes of a series, and the state of malloc."""

from dataclasses import dataclass

# What malloc does with the 256 KiB of a read hangs on whether the program has ever freed a large block: glibc maps and
# unmaps them until one was freed at its full size, and keeps them from then on.
FRESH, FREED = "fresh", "freed"
BOTH = (FRESH, FREED)
BLOCK = 4_000_000
STATES = {"": "", FRESH: "fresh process", FREED: "after one freed block"}


def in_bytes(size: int) -> str:
    binary, decimal = ((2**20, "MiB"), (2**10, "KiB")), ((10**6, "MB"), (10**3, "kB"))
    for scale, unit in decimal if size % 1_000 == 0 else binary:
        if size >= scale:
            return f"{size / scale:g} {unit}"
    return f"{size:,} B"


@dataclass(frozen=True)
class Series:
    """`axis` says what the sizes count, such as "tasks at once"; None: they are bytes."""

    axis: str | None
    sizes: tuple[int, ...]
    states: tuple[str, ...] = ("",)

    def points(self, family: str) -> list["Point"]:
        return [Point(family, self.axis or "", size, state) for state in self.states for size in self.sizes]


@dataclass(frozen=True)
class Point:
    """Where in its series a case stands; `axis` is empty where the sizes are bytes."""

    family: str
    axis: str
    size: int
    state: str = ""

    @property
    def name(self) -> str:
        return f"{self.family}@{self.size}" + (f"+{self.state}" if self.state == FREED else "")

    @property
    def label(self) -> str:
        return f"{self.size:,}" if self.axis else in_bytes(self.size)

    @property
    def words(self) -> str:
        """The size with what it counts, and the state of malloc where that matters."""
        words = f"{self.label} {self.axis}" if self.axis else self.label
        return f"{words}, {STATES[FREED]}" if self.state == FREED else words
