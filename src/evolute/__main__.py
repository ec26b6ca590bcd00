"""Lets ``python -m evolute`` do what the command ``evolute`` does."""

from __future__ import annotations

from evolute.cli import main

if __name__ == "__main__":
    main()
