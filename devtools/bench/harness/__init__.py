"""What all benchmarks share: fresh houses, alternating rounds, medians, one report."""
