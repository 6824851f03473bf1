"""Monitors of slow callbacks, which put a function of their own in place of `asyncio.Handle._run`."""

import asyncio
import time

import aioxide
import pytest


def test_aiodebug_reports_a_slow_step(monkeypatch):
    slow = pytest.importorskip(
        "aiodebug.log_slow_callbacks", reason="aiodebug is not installed (tests/integration/requirements.txt)"
    )
    reports = []

    async def slow_handler():
        await asyncio.sleep(0)
        time.sleep(0.05)

    async def main():
        slow.enable(0.03, on_slow_callback=lambda name, took: reports.append((name, took)))
        await asyncio.create_task(slow_handler(), name="handler")

    # Put back at the end of the test.
    monkeypatch.setattr(asyncio.events.Handle, "_run", asyncio.events.Handle._run)
    aioxide.run(main())
    ((name, took),) = [report for report in reports if "slow_handler" in report[0]]
    assert "handler" in name
    assert took >= 0.05
