"""Comparing a deployed file with the eager model on real frames."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from nequip.data import AtomicDataDict

from nequip_legato.deploy.blocks import Sums, evaluate_in_blocks
from nequip_legato.errors import LegatoError
from nequip_legato.trained.frames import Frame

__all__ = [
    "Deviations",
    "Reference",
    "compare",
    "isolated_atoms",
    "judge",
    "judge_energies",
    "reference_of",
]

# Uneven on purpose: single centers, and sizes that do not divide the number of atoms.
_BLOCK_SIZES = (1, 7, 2, 64)
_RELATIVE_FLOAT64 = 1e-8
_FLOAT32 = 5e-5
_RELATIVE_FLOAT32 = 2e-6  # a few units in the last place, for forces beyond 25 eV/A
_REPORT = "please report this with the model's configuration"


@dataclass(frozen=True)
class Reference:
    """A frame, and what nequip's eager model gives for it from positions."""

    frame: Frame
    sums: Sums


@dataclass(frozen=True)
class Deviations:
    """Largest differences between a deployed file and the eager model.

    Attributes:
        energy: of per-atom energies, eV.
        force: of force components, eV/A.
        virial: of virial components per atom, eV.
        largest_force: largest component of a force, eV/A.
        n_frames: structures compared, isolated atoms among them.
    """

    energy: float
    force: float
    virial: float
    largest_force: float
    n_frames: int

    def __str__(self) -> str:
        return (
            f"force {self.force:.1e} eV/A (largest force {self.largest_force:.3g}), atomic "
            f"energy {self.energy:.1e} eV, virial per atom {self.virial:.1e} eV, on "
            f"{self.n_frames} structures"
        )


def reference_of(model: torch.nn.Module, frame: Frame, *, device: str = "cpu") -> Reference:
    """Evaluate nequip's eager model from positions.

    Raises:
        LegatoError: if the model predicts no forces.
    """
    data = {key: value.to(device) for key, value in frame.by_positions().items()}
    outputs = model(data)
    needed = (
        AtomicDataDict.PER_ATOM_ENERGY_KEY,
        AtomicDataDict.FORCE_KEY,
        AtomicDataDict.VIRIAL_KEY,
    )
    if any(key not in outputs for key in needed):
        raise LegatoError(
            "the model predicts no forces; train it with 'do_derivatives: true', or give "
            "--modifiers enable_ForceStressOutput"
        )
    energies, forces, virial = (outputs[key].detach().cpu().double() for key in needed)
    return Reference(frame, Sums(energies.view(-1), forces, virial.view(3, 3)))


def isolated_atoms(*, num_types: int, cutoffs: torch.Tensor) -> Frame:
    """One atom of each type without neighbors, and a dimer: blocks with 0, 1 and 2 real edges."""
    spacing = 10.0 * float(cutoffs.max())
    positions = torch.zeros(num_types + 2, 3, dtype=torch.float64)
    positions[:, 0] = spacing * torch.arange(num_types + 2)
    half = 0.5 * float(cutoffs[0, 0])
    positions[-1] = positions[-2] + torch.tensor([half, 0.1 * half, 0.0], dtype=torch.float64)
    a, b = num_types, num_types + 1
    return Frame(
        positions=positions,
        cell=None,
        types=torch.cat([torch.arange(num_types), torch.zeros(2, dtype=torch.int64)]),
        edge_index=torch.tensor([[a, b], [b, a]]),
        shifts=None,
    )


def compare(
    model: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    references: Sequence[Reference],
    *,
    cutoffs: torch.Tensor,
    dtype: str,
    what: str,
) -> Deviations:
    """Compare a model on edge vectors, evaluated in blocks, with the eager model on positions.

    Args:
        model: takes and gives what a deployed model does, on the CPU.
        references: frames and what they should give.
        cutoffs: (T, T), Angstrom.
        dtype: ``float32`` or ``float64``.
        what: how to call the model in an error.

    Raises:
        LegatoError: as :func:`judge`.
    """
    found = (
        (r, evaluate_in_blocks(model, r.frame, cutoffs=cutoffs, sizes=_BLOCK_SIZES))
        for r in references
    )
    return judge(found, cutoffs=cutoffs, dtype=dtype, what=what, remedy=_REPORT)


def judge(
    found: Iterable[tuple[Reference, Sums]],
    *,
    cutoffs: torch.Tensor,
    dtype: str,
    what: str,
    remedy: str,
) -> Deviations:
    """Compare results with their references.

    Tolerances: 1e-8 of the largest force for float64 models; 5e-5 eV/A for float32 models, or
    2e-6 of the largest force where that is more. The same numbers hold for atomic energies (eV; for
    float64 relative to the larger of 1 eV and the largest atomic energy), and times the cutoff for
    the virial per atom.

    Args:
        found: references, and the results to be compared with them.
        cutoffs: (T, T), Angstrom.
        dtype: ``float32`` or ``float64``.
        what: how to call the model in an error.
        remedy: what the user may do about one.

    Raises:
        LegatoError: if they differ by more; the message gives the numbers.
    """
    energy = force = virial = largest = largest_energy = 0.0
    count = 0
    for reference, sums in found:
        expected = reference.sums
        energy = _larger(energy, sums.energies - expected.energies)
        force = _larger(force, sums.forces - expected.forces)
        virial = _larger(virial, (sums.virial - expected.virial) / len(expected.energies))
        largest = _larger(largest, expected.forces)
        largest_energy = _larger(largest_energy, expected.energies)
        count += 1
    result = Deviations(energy, force, virial, largest, count)
    if dtype == "float64":
        tolerance = _RELATIVE_FLOAT64 * largest
        energy_tolerance = _RELATIVE_FLOAT64 * max(1.0, largest_energy)
    else:
        tolerance = max(_FLOAT32, _RELATIVE_FLOAT32 * largest)
        energy_tolerance = tolerance
    # Written so that NaN is not within the tolerance.
    within = (
        force <= tolerance
        and energy <= energy_tolerance
        and virial <= tolerance * float(cutoffs.max())
    )
    if not within:
        raise LegatoError(
            f"{what} differs from nequip's eager model: {result}; allowed for {dtype}: force "
            f"{tolerance:.1e} eV/A, atomic energy {energy_tolerance:.1e} eV. Nothing was written; "
            f"{remedy}"
        )
    return result


def judge_energies(
    found: Iterable[tuple[Reference, torch.Tensor]], *, dtype: str, what: str, remedy: str
) -> None:
    """Compare per-atom energies that were evaluated without forces; tolerances as in `judge`.

    Args:
        found: references, and (n,) per-atom energies in eV.
        dtype: ``float32`` or ``float64``.
        what: how to call the model in an error.
        remedy: what the user may do about one.

    Raises:
        LegatoError: if they differ by more.
    """
    for reference, energies in found:
        expected = reference.sums.energies
        difference = _larger(0.0, energies - expected)
        scale = max(1.0, float(expected.abs().max()))
        if not difference <= (_RELATIVE_FLOAT64 * scale if dtype == "float64" else _FLOAT32):
            raise LegatoError(
                f"energies alone of {what} differ from nequip's eager model by {difference:.1e} eV "
                f"per atom. Nothing was written; {remedy}"
            )


def _larger(so_far: float, tensor: torch.Tensor) -> float:
    here = tensor.abs().max()
    return float(torch.maximum(here, torch.full_like(here, so_far)))  # NaN wins
