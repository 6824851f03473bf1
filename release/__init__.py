"""What makes a release of the source: wheels, what is beside them, and the look at all of it. `make release-check`."""
