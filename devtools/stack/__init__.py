"""The whole system on one machine: for `make up`, `make demo`, integration tests, benchmarks."""
