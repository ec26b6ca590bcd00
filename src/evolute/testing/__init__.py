"""Contract suites for authors of tasks, searches, stores and executors; nothing imports them."""
