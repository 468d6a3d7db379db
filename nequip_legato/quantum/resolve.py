"""From a quantum campaign's YAML file to complete settings."""

from dataclasses import replace
from pathlib import Path

from nequip_legato.quantum.settings import Settings, check
from nequip_legato.stability.run.resolve import resolved_models
from nequip_legato.stability.run.schema import (
    existing_file,
    load_checked,
    local_path,
    structure_path,
)

__all__ = ["load_quantum_settings", "resolved"]


def load_quantum_settings(path: Path) -> Settings:
    """Read, check and resolve a quantum campaign's YAML file.

    Raises:
        LegatoError: if the file is missing, is not YAML, has unknown keys or impossible values.
    """
    return resolved(load_checked(path, Settings, check, docs="docs/quantum.md"), path)


def resolved(settings: Settings, path: Path) -> Settings:
    """A copy with absolute paths and the symbols of all types.

    Args:
        settings: the campaign's.
        path: its YAML file, to which paths are relative.

    Raises:
        LegatoError: if a file does not exist.
    """
    base = path.absolute().parent
    systems = tuple(
        replace(system, structure=structure_path(base, system.structure, f"systems: {system.name}"))
        for system in settings.systems
    )
    return replace(
        settings,
        models=resolved_models(settings.models, base),
        systems=systems,
        symbols=settings.symbols or settings.types,
        piglet=settings.piglet and str(existing_file(base / local_path(settings.piglet), "piglet")),
        output=str(base / (local_path(settings.output) or path.stem)),
    )
