"""Deployed files and their metadata; free of torch."""
