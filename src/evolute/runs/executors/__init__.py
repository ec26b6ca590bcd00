"""Executors: what turns trial requests into trials."""
