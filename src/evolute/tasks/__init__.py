"""What rules are tried on: a model, data, a loss, a metric and three splits."""

from evolute.tasks import digits as digits  # fills the table of tasks
