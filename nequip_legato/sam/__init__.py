"""Sharpness-aware minimization: the mathematics and the Lightning callback over it."""

from nequip_legato.sam.callback import SAM
from nequip_legato.sam.perturbation import ascent_direction, perturbed, total_norm

__all__ = ["SAM", "ascent_direction", "perturbed", "total_norm"]
