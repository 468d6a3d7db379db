"""Nuclear quantum effects: path-integral campaigns in LAMMPS, and what is measured in them."""

__all__: list[str] = []
