"""The metadata of a deployed file, as they are written."""

import json
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import torch
from nequip.utils.global_state import get_latest_global_state

from nequip_legato.deploy.domain import Domain
from nequip_legato.deployed.reader import FORMAT, info
from nequip_legato.errors import LegatoError
from nequip_legato.trained.checkpoint import Source

__all__ = ["check_entries", "cutoffs_of", "legato_entries", "model_entries"]

_VERSIONS = ("torch", "nequip", "nequip-allegro", "nequip-legato", "e3nn")


def model_entries(model: Any) -> dict[str, str]:
    """The metadata that nequip stores with a model.

    Raises:
        LegatoError: if a type name has spaces.
    """
    if any(len(name.split()) != 1 for name in model.type_names):
        raise LegatoError("type names with spaces cannot be deployed; train with names without")
    entries = {**model.metadata, **get_latest_global_state(only_metadata_related=True)}
    return {k: str(int(v)) if isinstance(v, bool) else str(v) for k, v in entries.items()}


def cutoffs_of(entries: dict[str, str]) -> torch.Tensor:
    """(T, T) cutoff of each (center type, neighbor type) in metadata, Angstrom."""
    n = len(entries["type_names"].split())
    words = entries.get("per_edge_type_cutoff", "").split() or [entries["r_max"]] * n * n
    return torch.tensor([float(word) for word in words], dtype=torch.float64).view(n, n)


def legato_entries(source: Source, domain: Domain, *, device: str, origin: str) -> dict[str, str]:
    """The metadata that this package adds; see docs/deploy.md.

    Args:
        source: the trained model.
        domain: of its training frames.
        device: ``cpu`` or ``cuda``.
        origin: where the training frames come from, in words.
    """
    shortest = domain.shortest_distance.view(-1).tolist()
    versions = {}
    for name in _VERSIONS:
        try:
            versions[name] = packages.version(name)
        except packages.PackageNotFoundError:
            versions[name] = "unknown"
    return {
        "legato_format": FORMAT,
        "legato_device": device,
        "legato_units": "metal",
        "legato_shortest_distance": " ".join(repr(value) for value in shortest),
        "legato_largest_force": repr(domain.largest_force),
        "legato_domain_frames": str(domain.n_frames),
        "legato_versions": json.dumps(versions),
        "legato_training": json.dumps(source.training),
        "legato_history": json.dumps(source.history | {"domain_origin": origin}),
    }


def check_entries(path: Path, entries: dict[str, str]) -> None:
    """Refuse a file that lacks some of its metadata.

    Raises:
        LegatoError: if torch has not stored all entries.
    """
    stored = info(path).entries
    missing = [key for key, value in entries.items() if stored.get(key) != value]
    if missing:
        raise LegatoError(f"torch did not store the metadata {', '.join(missing)}; report this")
