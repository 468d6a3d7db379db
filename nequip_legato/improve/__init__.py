"""A loop that learns from failures: simulate, choose, label, train, deploy, repeat."""
