"""What stands between our types and the interpreter."""
