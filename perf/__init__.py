"""Benchmarks: run one with ``python -m perf.<name>``; figures stand in perf/README.md."""
