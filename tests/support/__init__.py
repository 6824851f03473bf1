"""What the tests of several rooms use; no tests."""
