"""The benchmarks: `python -m benches --help`; see README.md beside this file."""
