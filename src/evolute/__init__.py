"""Finds an optimizer for a model and its data.

These are the public names; everything else may change without notice.
"""

from evolute import schedules as schedules
from evolute.compiler.export.exporters import export_rule as export_rule
from evolute.compiler.optimizer import RuleOptimizer as RuleOptimizer
from evolute.discover import SearchResult as SearchResult
from evolute.discover import search as search
from evolute.errors import EvoluteError as EvoluteError
from evolute.errors import InputError as InputError
from evolute.errors import StoreError as StoreError
from evolute.lang.decays import base_decay as base_decay
from evolute.lang.functions import function as function
from evolute.lang.operands import operand as operand
from evolute.lang.rule import Rule as Rule
from evolute.report.build import report as report
from evolute.runs.executors.make import RayCluster as RayCluster
from evolute.tasks.base import Task as Task
from evolute.workbench.bench import bench as bench
from evolute.workbench.eliminate import eliminate as eliminate
from evolute.workbench.explain import explain as explain
