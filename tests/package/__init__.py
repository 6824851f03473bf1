"""The distribution: the wheel, its builds, its stubs, and the machines that it is built on."""
