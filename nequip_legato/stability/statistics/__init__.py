"""Statistics of lives and failures; knows neither LAMMPS nor files."""
