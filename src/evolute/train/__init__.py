"""Scoring: what decides how good a rule is on a task, and which rules are not worth a training."""
