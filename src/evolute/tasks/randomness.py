"""The global generators that user code draws from, as tasks and trainings seed them.

They are kept where networks side by side draw from them too.
"""

from __future__ import annotations

from evolute.seeds.streams import Stream as Stream
from evolute.seeds.streams import seeded as seeded
