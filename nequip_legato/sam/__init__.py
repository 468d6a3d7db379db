"""Sharpness-aware minimization: the mathematics and the Lightning callbacks over it."""

from nequip_legato.sam.callback import SAM
from nequip_legato.sam.late_checkpoint import LateCheckpoint
from nequip_legato.sam.look import LookSAM
from nequip_legato.sam.momentum import MomentumSAM
from nequip_legato.sam.perturbation import ascent_direction, perturbed, total_norm

__all__ = [
    "SAM",
    "LateCheckpoint",
    "LookSAM",
    "MomentumSAM",
    "ascent_direction",
    "perturbed",
    "total_norm",
]
