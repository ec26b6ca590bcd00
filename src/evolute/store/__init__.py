"""What is remembered between runs: trials under their keys, and which run asked for which."""
