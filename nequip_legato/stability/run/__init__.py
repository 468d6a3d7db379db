"""Running a campaign: settings, plan, LAMMPS inputs, runs and failure criteria."""
