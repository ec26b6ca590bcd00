"""The stacked plan: an ordinary module traced once, then run for all lanes by batched operations.

``value.py`` is a tensor with a lane axis; ``trace.py`` makes the graph; ``table.py`` holds the rows,
one per function, which ``functions.py``, ``layers.py`` and ``shapes.py`` fill; ``network.py`` runs.
"""
