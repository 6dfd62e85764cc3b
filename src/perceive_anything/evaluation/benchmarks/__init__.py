"""Benchmarks whose files are no training set, and samples from those that readers know."""
