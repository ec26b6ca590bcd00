"""Rule to running code: programs, their execution, the torch optimizer, the slow reference."""
