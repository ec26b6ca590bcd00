"""Which rule to try next: searches as ask and tell, without tensors, clock or disk."""
