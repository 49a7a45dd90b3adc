"""A soak test: a workload on a stack whose parts fail, then a check of every invariant."""
