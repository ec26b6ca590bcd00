"""Fuzzing of everything that reads a stranger's data."""
