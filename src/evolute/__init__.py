"""Finds an optimizer for a model and its data.

These are the public names; everything else may change without notice.
"""

from evolute.errors import EvoluteError as EvoluteError
from evolute.errors import InputError as InputError
from evolute.errors import StoreError as StoreError
from evolute.lang.decays import base_decay as base_decay
from evolute.lang.functions import function as function
from evolute.lang.operands import operand as operand
from evolute.lang.rule import Rule as Rule
