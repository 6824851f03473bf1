"""uvloop's own tests, from its source distribution, with a package named ``uvloop`` that is aioxide.

``python -m tests.uvloop`` fetches the source distribution once into ``.cache/`` and runs every test module in
a process of its own.
"""
