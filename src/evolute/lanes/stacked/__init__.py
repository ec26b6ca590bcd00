"""The stacked plan: an ordinary module traced once, then run for all lanes in batched operations.

``value.py`` is a tensor with a lane axis; ``trace.py`` makes the list of calls; ``table.py`` holds
the rows, one per function, that ``functions.py``, ``layers.py`` and ``shapes.py`` enter;
``network.py`` runs it.
"""
