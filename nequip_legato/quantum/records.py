"""What is known about each finished run of a quantum campaign."""

from dataclasses import dataclass

from nequip_legato.stability.records import Record

__all__ = ["QuantumRecord"]


@dataclass(frozen=True, kw_only=True)
class QuantumRecord(Record):
    """One finished run. What it has in common with stability runs is named as there.

    Attributes:
        system: name of the structure.
        isotopes: name of the set of isotopes.
        method: ``classical``, ``pimd`` or ``trpmd``.
        beads: their number P.
        engine: who moved them: ``lammps`` or ``i-pi``.
        equilibration_steps: of ``steps``, those that are not measured.
        sample_every: steps between frames.
        velocity_every: steps between frames of velocities.
        failed_bead: number of the bead whose criterion fired, from 1; None if none did,
            or if LAMMPS stopped with an error of its own.
        species: name of each LAMMPS type.
        elements: chemical symbol of each LAMMPS type.
        model_types: the model's type name of each LAMMPS type.
        masses: of each LAMMPS type, g/mol.
    """

    system: str
    isotopes: str
    method: str
    beads: int
    engine: str = "lammps"
    equilibration_steps: int
    sample_every: int
    velocity_every: int
    failed_bead: int | None = None
    species: list[str]
    elements: list[str]
    model_types: list[str]
    masses: list[float]

    @property
    def size(self) -> int:
        """What a step's cost grows with."""
        return self.atoms * self.beads
