"""Deployed files, and what they say of themselves; free of torch."""
