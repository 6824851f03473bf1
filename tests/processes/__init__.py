"""Calls in processes: `aioxide.ProcessPoolExecutor`, its workers, and what happens to them."""
