"""Known optimizers and learning-rate schedules as data: one file of ``entries`` each."""

from evolute.zoo.catalogue import HAND_MADE as HAND_MADE
from evolute.zoo.catalogue import create as create
from evolute.zoo.catalogue import load as load
from evolute.zoo.catalogue import names as names
from evolute.zoo.catalogue import schedule as schedule
from evolute.zoo.catalogue import schedule_names as schedule_names
from evolute.zoo.entry import Entry as Entry
from evolute.zoo.entry import EntryKind as EntryKind
from evolute.zoo.entry import Evidence as Evidence
from evolute.zoo.entry import Origin as Origin
from evolute.zoo.rate_schedule import RateSchedule as RateSchedule
