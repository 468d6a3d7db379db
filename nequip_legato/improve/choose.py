"""Choosing structures that differ, by farthest-point sampling of the flagged atoms."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from nequip_legato.errors import LegatoError
from nequip_legato.improve.structures import FLAGGED, id_of

__all__ = ["check_libraries", "choose", "descriptors"]

_MISSING = "choosing structures needs skmatter and featomic; pip install 'nequip-legato[improve]'"


def choose(
    structures: Sequence[Atoms], *, number: int, cutoff: float, known: Sequence[Atoms] = ()
) -> list[int]:
    """Which structures to label: those that are farthest from one another and from known ones.

    Farthest-point sampling (Eldar et al. 1997, doi:10.1109/83.623193; skmatter's) of the
    `nequip_legato.improve.choose.descriptors`. It begins with the first structure, unless some are
    known.

    Args:
        structures: with flagged atoms, the most important ones first.
        number: largest number of structures to take; known ones and duplicates are left out.
        cutoff: of the descriptors, Angstrom.
        known: structures that were taken before, with flagged atoms.

    Returns:
        Indices, in the order in which they were taken.

    Raises:
        LegatoError: if skmatter or featomic is not installed.
    """
    seen = {id_of(atoms) for atoms in known}
    new = []
    for index, atoms in enumerate(structures):
        name = id_of(atoms)
        if name not in seen:
            seen.add(name)
            new.append(index)
    if len(new) <= number:
        return new
    check_libraries()
    from skmatter.sample_selection import FPS

    features = descriptors([*known, *(structures[k] for k in new)], cutoff=cutoff)
    first = list(range(len(known))) or [0]
    total = len(known) + number
    sampler = FPS(n_to_select=total, initialize=first if known else 0).fit(features)
    places = [int(k) for k in sampler.selected_idx_ if k >= len(known)]
    return [new[k - len(known)] for k in places]


def check_libraries() -> None:
    """Check that the libraries for choosing structures are installed.

    Raises:
        LegatoError: if skmatter or featomic is not installed.
    """
    try:
        import featomic  # noqa: F401
        import skmatter.sample_selection  # noqa: F401
    except ImportError as problem:
        raise LegatoError(f"{_MISSING} ({problem})") from problem


def descriptors(structures: Sequence[Atoms], *, cutoff: float) -> np.ndarray:
    """Descriptors of the environments of the flagged atoms: SOAP power spectra.

    Bartok et al. 2013 (doi:10.1103/PhysRevB.87.184115), by featomic. They do not depend on a model,
    so structures of different rounds can be compared, and they include angles, unlike sorted
    distances. Only flagged atoms count: failures are local, and the rest of a state is ordinary.

    Args:
        structures: with flagged atoms.
        cutoff: Angstrom.

    Returns:
        (structures, features): for each element the mean over its flagged atoms of spectra of
        length one, zero where there is none.

    Raises:
        LegatoError: if featomic is not installed.
    """
    check_libraries()
    from featomic import SoapPowerSpectrum
    from metatensor import Labels

    elements = sorted({int(z) for atoms in structures for z in atoms.numbers})
    calculator = SoapPowerSpectrum(
        cutoff={"radius": cutoff, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={"type": "Gaussian", "width": 0.3},
        basis={
            "type": "TensorProduct",
            "max_angular": 4,
            "radial": {"type": "Gto", "max_radial": 4},
        },
    )
    flagged = [
        (s, int(a))
        for s, atoms in enumerate(structures)
        for a in np.flatnonzero(atoms.arrays[FLAGGED])
    ]
    keys = [(z, a, b) for z in elements for n, a in enumerate(elements) for b in elements[n:]]
    spectra = calculator.compute(
        [atoms.copy() for atoms in structures],
        selected_samples=Labels(["system", "atom"], np.array(flagged, dtype=np.int32)),
        selected_keys=Labels(
            ["center_type", "neighbor_1_type", "neighbor_2_type"], np.array(keys, dtype=np.int32)
        ),
    ).keys_to_properties(["neighbor_1_type", "neighbor_2_type"])
    parts = []
    for element in elements:
        block = spectra.block(center_type=element)
        values = np.asarray(block.values)
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        values = values / np.where(lengths > 0, lengths, 1.0)
        mean = np.zeros((len(structures), values.shape[1]))
        count = np.zeros(len(structures))
        for place, row in zip(block.samples["system"], values, strict=True):
            mean[int(place)] += row
            count[int(place)] += 1
        parts.append(mean / np.maximum(count, 1)[:, None])
    return np.hstack(parts)
