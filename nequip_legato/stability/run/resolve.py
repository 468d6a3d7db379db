"""From a campaign's YAML file to complete settings."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ase.data import atomic_masses, atomic_numbers

from nequip_legato.stability.run.schema import (
    existing_file,
    load_checked,
    local_path,
    require,
    structure_path,
)
from nequip_legato.stability.run.settings import Settings, check

__all__ = ["load_settings", "resolved", "resolved_models", "with_species"]

Entry = TypeVar("Entry")


def load_settings(path: Path) -> Settings:
    """Read, check and resolve a campaign's YAML file.

    Raises:
        LegatoError: if the file is missing, is not YAML, has unknown keys or impossible values.
    """
    return resolved(load_checked(path, Settings, check, docs="docs/stability.md"), path)


def resolved(settings: Settings, path: Path) -> Settings:
    """A copy with absolute paths and all defaults filled in.

    Args:
        settings: the campaign's.
        path: its YAML file, to which paths are relative.

    Raises:
        LegatoError: if a file does not exist, or if a symbol is not a chemical element.
    """
    base = path.absolute().parent
    models = resolved_models(settings.models, base)
    files = {model.name: model.file for model in models}
    chosen = settings.equilibration.model or models[0].name
    file = files.get(chosen) or str(
        existing_file(base / local_path(chosen), "equilibration: model")
    )
    return replace(
        with_species(settings),
        models=models,
        structure=structure_path(base, settings.structure, "structure"),
        equilibration=replace(settings.equilibration, model=file),
        output=str(base / (local_path(settings.output) or path.stem)),
    )


def resolved_models(models: Iterable[Entry], base: Path) -> tuple[Entry, ...]:
    """Copies of a campaign's models with absolute paths, groups and training seeds.

    Args:
        models: each with a name, a file (empty if it has none), a group and a training seed.
        base: folder to which paths are relative.

    Raises:
        LegatoError: if a file does not exist.
    """

    def complete(model: Any) -> Any:
        file = model.file and str(
            existing_file(base / local_path(model.file), f"models: {model.name}")
        )
        group, seed = model.group or model.name, model.training_seed or model.name
        return replace(model, file=file, group=group, training_seed=seed)

    return tuple(complete(model) for model in models)


def with_species(settings: Settings) -> Settings:
    """A copy with the symbols and masses of all types.

    Raises:
        ValueLegatoError: if a symbol is not a chemical element.
    """
    symbols = settings.symbols or settings.types
    unknown = [symbol for symbol in symbols if symbol not in atomic_numbers]
    require(
        not unknown,
        f"symbols: {' '.join(unknown)} is not a chemical element; give the element of each type",
    )
    masses = settings.masses or tuple(float(atomic_masses[atomic_numbers[s]]) for s in symbols)
    return replace(settings, symbols=symbols, masses=masses)
