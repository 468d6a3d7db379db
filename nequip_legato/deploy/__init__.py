"""Deploying trained models for pair_style allegro_legato."""
