"""Lanes: many copies of one ``nn.Module``, trained side by side along a leading axis.

``base.py`` is the interface; ``stacked/``, ``vmap.py`` and ``loop.py`` are its three plans;
``choose.py`` checks them against the plain module, times them once and remembers the fastest.
"""
