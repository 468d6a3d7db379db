"""Compiling the C++ parts on first use, against the torch and LAMMPS that are installed."""

__all__: list[str] = []
