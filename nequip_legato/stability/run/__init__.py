"""Running a campaign: settings, plan, inputs of LAMMPS, the runs and what ends them."""
