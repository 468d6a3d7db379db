"""LAMMPS side of nequip-legato: building and finding the plugin."""

__all__: list[str] = []
