"""Energy scales and shifts: per type today, per species and global before."""

from collections.abc import Sequence
from typing import Any

from nequip_legato.migrate.old import OldConfig

__all__ = ["scales_and_shifts"]

_FORCES_RMS = "${training_data_stats:forces_rms}"
_STATISTICS = {
    "dataset_per_atom_total_energy_mean": "${training_data_stats:per_atom_energy_mean}",
    "dataset_forces_rms": _FORCES_RMS,
    "dataset_rms_forces": _FORCES_RMS,
    "dataset_per_species_forces_rms": "${training_data_stats:per_type_forces_rms}",
}
# Statistics of nequip.data.EnergyOnlyDataStatisticsManager, used without forces in the loss.
_ENERGY_STATISTICS = {
    "dataset_per_atom_total_energy_mean": "${training_data_stats:per_atom_energy_mean}",
    "dataset_per_atom_total_energy_std": "${training_data_stats:per_atom_energy_std}",
    "dataset_total_energy_std": "${training_data_stats:total_energy_std}",
}


def scales_and_shifts(
    old: OldConfig, *, types: list[str], builders: Sequence[str], forces: bool
) -> dict[str, Any]:
    """``per_type_energy_scales`` and ``..._shifts``, and whether they are trained.

    nequip 0.5 divided per-species scales by the global one and multiplied by it again, so in data
    units only the per-species scales count, if there are any.
    """
    known = _STATISTICS if forces else _ENERGY_STATISTICS
    scale = "dataset_forces_rms" if forces else "dataset_total_energy_std"
    atom_scale = "dataset_forces_rms" if forces else "dataset_per_atom_total_energy_std"
    scales: Any = None
    shifts: Any = None
    if "RescaleEnergyEtc" in builders or "GlobalRescale" in builders:
        scales = _value(old, "global_rescale_scale", scale, known=known, types=types)
        if old.peek("global_rescale_shift") is None:
            old.take("global_rescale_shift", default=None)
        else:
            old.drop(
                "global_rescale_shift",
                "a shift of the whole system's energy is not size extensive; today's shifts are "
                "per atom",
            )
    if "PerSpeciesRescale" in builders:
        name = "per_species_rescale_shifts"
        shifts = _value(old, name, "dataset_per_atom_total_energy_mean", known=known, types=types)
        per_species = _value(
            old, "per_species_rescale_scales", atom_scale, known=known, types=types
        )
        scales = scales if per_species is None else per_species
    _check_units(old)
    both = old.switch("per_species_rescale_trainable", default=False)
    return {
        "per_type_energy_scales": scales,
        "per_type_energy_shifts": shifts,
        "per_type_energy_scales_trainable": old.switch(
            "per_species_rescale_scales_trainable", default=both
        ),
        "per_type_energy_shifts_trainable": old.switch(
            "per_species_rescale_shifts_trainable", default=both
        ),
    }


def _value(
    old: OldConfig, key: str, default: str, *, known: dict[str, str], types: list[str]
) -> Any:
    value = old.take(key, default=default)
    if value is None:
        return None
    if isinstance(value, str) and value.startswith("dataset_"):
        if value in known:
            return known[value]
        replaced = known[default]
        old.drop_part(f"{key}: {value}", f"nequip 0.19 has no such statistic; now {replaced}")
        return replaced
    if isinstance(value, dict):
        if set(value) != set(types):
            raise old.wrong([key], value, f"a value for each of {', '.join(types)}")
        value = [value[name] for name in types]
    if isinstance(value, list):
        if len(value) != len(types):
            raise old.wrong([key], value, f"a list of {len(types)} numbers")
        return {name: _number(old, key, v) for name, v in zip(types, value, strict=True)}
    return _number(old, key, value)


def _number(old: OldConfig, key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise old.wrong([key], value, "a number, a list of numbers, or a dataset statistic") from (
            None
        )


def _check_units(old: OldConfig) -> None:
    key = "per_species_rescale_arguments_in_dataset_units"
    numbers = [
        name
        for name in ("per_species_rescale_scales", "per_species_rescale_shifts")
        if name in old.used and isinstance(old.peek(name), (int, float, list, dict))
    ]
    if numbers and old.peek(key) is False:
        old.drop(
            key,
            f"today numbers are in the units of the data: multiply {' and '.join(numbers)} by the "
            "old global scale (dataset_forces_rms) by hand",
        )
    else:
        old.drop(key, "today numbers are always in the units of the data")
