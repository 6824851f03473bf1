"""`aioxide.format_helpers` is `asyncio.format_helpers`."""

from asyncio.format_helpers import *  # noqa: F403
from asyncio.format_helpers import (
    _format_args_and_kwargs as _format_args_and_kwargs,
    _format_callback as _format_callback,
    _format_callback_source as _format_callback_source,
    _get_function_source as _get_function_source,
)
