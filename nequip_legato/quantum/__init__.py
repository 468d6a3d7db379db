"""Nuclear quantum effects: path-integral campaigns in LAMMPS and i-PI, and their analysis."""

__all__: list[str] = []
