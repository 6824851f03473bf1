"""One module a group of cases; each has a `GROUP` in which it registers them.

`aio` is the namespace under test: the standard library's asyncio, or aioxide in the lane `aioxide as
asyncio`.
"""
