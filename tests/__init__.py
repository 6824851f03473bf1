"""A package, so that a folder of tests never shadows a library of its name (tests/uvloop, for one)."""
