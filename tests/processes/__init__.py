"""The pools of threads and processes, and what happens to them."""
