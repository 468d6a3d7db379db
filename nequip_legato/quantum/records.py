"""Records of finished runs of a quantum campaign."""

from dataclasses import dataclass

from nequip_legato.stability.records import Record

__all__ = ["QuantumRecord"]


@dataclass(frozen=True, kw_only=True)
class QuantumRecord(Record):
    """One finished run; further attributes as in `nequip_legato.stability.records.Record`.

    Attributes:
        system: name of the structure.
        isotopes: name of the set of isotopes.
        method: ``classical``, ``pimd``, ``trpmd`` or ``piglet``.
        beads: number of beads P.
        engine: program that moved the beads: ``lammps`` or ``i-pi``.
        equilibration_steps: number of those of ``steps`` that are not measured.
        sample_every: steps between frames.
        velocity_every: steps between frames of velocities.
        failed_bead: number of the bead whose criterion fired, from 1; None if none did, or if it
            is not known.
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
        """What the cost of a step is proportional to: atoms times beads."""
        return self.atoms * self.beads
