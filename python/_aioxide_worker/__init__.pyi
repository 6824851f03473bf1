from collections.abc import Callable
from typing import Any

class TaskCancelled(BaseException): ...

class Endpoint:
    descriptors: tuple[int, int, int]
    def __init__(self, sock: int, page: int, lifeline: int) -> None: ...

class ByCloudpickle:
    data: bytes
    def __init__(self, data: bytes) -> None: ...

def main(
    endpoint: Endpoint,
    library: str,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    options: dict[str, int],
) -> None: ...
def failure(error: BaseException) -> tuple[BaseException, str]: ...
def unshare(memory: Any, slab: int, parts: list[int]) -> Any: ...
def make_of_parts(memory: Any, parts: list[int]) -> Any: ...
def call_in_context(
    values: list[tuple[str, str, Any]],
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any: ...
def call_chunk(fn: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> list[Any]: ...
