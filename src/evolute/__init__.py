"""Find an optimizer for a model and its data."""
