"""A rule as a file for other programs: one file per target, listed in ``exporters.EXPORTERS``."""
