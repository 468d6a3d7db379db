"""ASE calculator that uses the same engine as LAMMPS."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from matscipy.neighbours import neighbour_list

from nequip_legato.errors import LegatoError
from nequip_legato.native.engine import digest_of, load_binding, open_engine

__all__ = ["LegatoCalculator"]

# xx yy zz xy xz yz, the order of the engine's virials, as a symmetric matrix
_SYMMETRIC = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])

_ENERGIES = {"energy", "free_energy", "energies"}


class LegatoCalculator(Calculator):
    """Evaluates a deployed model exactly as ``pair_style allegro_legato`` does.

    Args:
        model: deployed file, ``.nequip.pth`` or ``.nequip.pt2``.
        type_names: chemical symbol -> model type name, where they differ (``{"D": "H"}``).
        threads: number of blocks evaluated at the same time.
        block: largest number of atoms in a block (default: 64; on a GPU, what fits).
        device: ``cpu``, ``cuda``, or ``auto``, as the keyword of the pair style.

    Results: ``energy`` and ``free_energy`` in eV, ``energies`` (n,), ``forces`` (n, 3) in eV/A, and
    ``stress`` (6,) in eV/A^3 for periodic cells. Also ``fence_edges`` and ``fence_energy``: the
    number of edges on which the model's fence acts, and its part of the energy in eV; zero without
    a fence.

    Copies and pickles keep settings and results, and open the model file again at their first
    calculation: it must still be there, and unchanged. In a forked process the engine keeps
    working, with threads of its own.

    Raises:
        LegatoError: if the file cannot be used or an atom has no type in the model.
    """

    implemented_properties: Sequence[str] = (  # type: ignore[assignment]
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    )

    def __init__(
        self,
        model: str | Path,
        *,
        type_names: dict[str, str] | None = None,
        threads: int = 1,
        block: int | None = None,
        device: str = "cpu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._model = Path(model).absolute()  # a copy may be opened in another folder
        self._settings: dict[str, Any] = {"threads": threads, "block": block, "device": device}
        self._type_names = dict(type_names or {})
        self._engine: Any = open_engine(model, **self._settings)
        self._process = os.getpid()
        self._digest = digest_of(self._model)

    @property
    def engine(self) -> Any:
        """The engine: see `nequip_legato.native.engine`.

        Raises:
            LegatoError: for a copy whose model file is missing or has changed.
        """
        if self._engine is None:
            self._engine = open_engine(self._model, **self._settings, digest=self._digest)
            self._process = os.getpid()
        return self._engine

    def __getstate__(self) -> dict[str, Any]:
        # Without the engine, whose threads cannot be copied. A copy opens the file at its first
        # calculation, because process pools hide errors raised while unpickling.
        return self.__dict__ | {"_engine": None}

    def _types(self, symbols: Sequence[str]) -> np.ndarray:
        known = {name: index for index, name in enumerate(self.engine.type_names)}
        wanted = [self._type_names.get(symbol, symbol) for symbol in symbols]
        unknown = sorted(set(wanted) - set(known))
        if unknown:
            raise LegatoError(
                f"the model has no atom type named {', '.join(unknown)}; it has: "
                f"{' '.join(known)} (map others with type_names)"
            )
        return np.array([known[name] for name in wanted], dtype=np.int32)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate the model.

        If only energies are asked for, the model is not differentiated, which makes trial moves of
        Monte Carlo sampling cheaper.

        Raises:
            LegatoError: if an atom has no type in the model, or the model cannot be evaluated.
        """
        super().calculate(atoms, properties, system_changes)
        atoms = cast(Atoms, self.atoms)  # what the base class has just set
        n = len(atoms)
        types = self._types(atoms.get_chemical_symbols())
        owner, positions, offsets, neighbors = _with_images(atoms, self.engine.cutoff)
        result = self._compute(
            positions,
            types[owner],
            offsets,
            neighbors,
            with_forces=not _ENERGIES.issuperset(properties),
            with_atomic_virials=False,
        )
        self.results = {
            "energy": result["energy"],
            "free_energy": result["energy"],
            "energies": result["atomic_energy"][:n],
            "fence_edges": result["n_fenced"],
            "fence_energy": result["fence_energy"],
        }
        if "forces" not in result:
            return
        forces = np.zeros((n, 3))
        np.add.at(forces, owner, result["forces"])
        self.results["forces"] = forces
        if atoms.cell.rank == 3:
            stress = -result["virial"][_SYMMETRIC] / atoms.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)

    def _compute(self, *arrays: np.ndarray, **options: bool) -> dict[str, Any]:
        engine = self.engine
        try:
            return engine.compute(*arrays, **options)
        except load_binding().EngineError as problem:
            if self._process != os.getpid():
                raise LegatoError(
                    f"{problem} (in a process that was forked after the model was loaded, which "
                    "torch does not always support: make the calculator in the new process, or "
                    "start it with multiprocessing.get_context('spawn'))"
                ) from problem
            raise LegatoError(str(problem)) from problem


def _with_images(
    atoms: Atoms, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Neighbor lists in which, as in LAMMPS, periodic images are atoms of their own.

    Returns:
        For the n atoms and their m images the atom that each is an image of, (n + m,), and the
        positions, (n + m, 3), Angstrom; where each atom's neighbors begin, (n + 1,), and the
        neighbors, which are images.
    """
    n = len(atoms)
    # The neighbor search needs a full cell; missing vectors only define its bins.
    cell = atoms.cell.complete().array
    center, neighbor, shift = neighbour_list(
        "ijS", cutoff=cutoff, positions=atoms.positions, cell=cell, pbc=atoms.pbc
    )
    images, image = np.unique(
        np.column_stack([neighbor, shift]).reshape(-1, 4), axis=0, return_inverse=True
    )
    owner = np.concatenate([np.arange(n), images[:, 0]])
    displaced = atoms.positions[images[:, 0]] + images[:, 1:] @ cell
    order = np.argsort(center, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(center, minlength=n))])
    neighbors = (n + image.reshape(-1)[order]).astype(np.int32)
    return owner, np.concatenate([atoms.positions, displaced]), offsets, neighbors
