"""The benchmarks: what they compute, measure and report."""
