"""What rules are tried on: a model, data, a loss, a metric and three splits."""

# Each fills the table of tasks with its own.
from evolute.tasks import control as control
from evolute.tasks import digits as digits
from evolute.tasks import fine_tuning as fine_tuning
from evolute.tasks import language as language
from evolute.tasks import tabular as tabular
from evolute.tasks import vision as vision
