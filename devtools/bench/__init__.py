"""Benchmarks: what it costs and how fast it is. Each prints its figures and a line of JSON."""
