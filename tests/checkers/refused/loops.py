"""The loop's methods, with what they do not take."""

import asyncio

import aioxide

loop = aioxide.new_event_loop()
protocol = asyncio.Protocol
loop.call_soon(print, context=1)  # mypy: arg-type; pyright: reportArgumentType
loop.call_later("1", print)  # mypy: arg-type; pyright: reportArgumentType
loop.create_task(print)  # mypy: arg-type; pyright: reportArgumentType
aioxide.EventLoop(object())  # mypy: arg-type; pyright: reportArgumentType


async def main() -> None:
    await loop.create_connection(protocol, port="x")  # mypy: call-overload; pyright: reportArgumentType
