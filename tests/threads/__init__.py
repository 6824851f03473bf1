"""Calls in threads: `aioxide.ThreadPoolExecutor`, its queue, and what a loop runs in it."""
