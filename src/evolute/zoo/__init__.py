"""Known optimizers as data: one file of ``entries`` each, with equation and origin."""

from evolute.zoo.catalogue import HAND_MADE as HAND_MADE
from evolute.zoo.catalogue import load as load
from evolute.zoo.catalogue import names as names
from evolute.zoo.entry import Entry as Entry
from evolute.zoo.entry import EntryKind as EntryKind
from evolute.zoo.entry import Origin as Origin
