"""Is a rule really better? Procedure (equal tuning, paired fresh seeds), statistics, verdict."""
