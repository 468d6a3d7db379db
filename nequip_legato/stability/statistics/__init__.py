"""Statistics of times to failure and failure rates; knows neither LAMMPS nor files."""
