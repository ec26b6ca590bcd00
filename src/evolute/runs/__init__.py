"""Runs: the one room that joins search, training and storage."""
