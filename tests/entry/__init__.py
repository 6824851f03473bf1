"""The ways in, seen from outside: most tests start an interpreter of their own, since a way in changes one."""
