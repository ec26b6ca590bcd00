"""Workbench: benchmark, elimination and ablation from names to a stored result."""
