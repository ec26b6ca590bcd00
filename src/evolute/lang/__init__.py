"""What an optimizer is: operands, functions, decays, expressions, rules and their texts."""

# Each of these fills its registry, so that a rule can be read as soon as the room is entered.
from evolute.lang import decays as decays
from evolute.lang import functions as functions
from evolute.lang import operands as operands
