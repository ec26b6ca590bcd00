"""What an optimizer is: operands, functions, decays, expressions, rules and their texts."""

from evolute.lang import decays, functions, operands  # each fills its registry
