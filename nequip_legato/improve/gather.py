"""Gathering candidates from the runs of an exploration: failures and near-failures."""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list

from nequip_legato.deployed.reader import ModelInfo
from nequip_legato.improve.explore import EVENTS, STATES
from nequip_legato.improve.settings import Observe
from nequip_legato.improve.structures import FLAGGED
from nequip_legato.stability.records import Record
from nequip_legato.stability.run import inputs
from nequip_legato.stability.run.settings import Bonds, Criteria, Settings
from nequip_legato.stability.run.snapshot import read_state, wrong_bonds

__all__ = ["Candidate", "Known", "committee_deviations", "flag", "gather", "read_dump"]

_SAME_EPISODE = 3  # checks; events further apart are different episodes
_ITEM = re.compile(r"^(?=ITEM: TIMESTEP$)", re.MULTILINE)


@dataclass(frozen=True)
class Known:
    """Which distances occur in the training data.

    Attributes:
        names: type name of each LAMMPS type.
        shortest: (T, T) shortest distance of each pair of LAMMPS types, Angstrom; inf for none.
        gaps: (i, j) with LAMMPS types i <= j -> ranges of distances that no frame has, Angstrom.
    """

    names: list[str]
    shortest: np.ndarray
    gaps: dict[tuple[int, int], list[tuple[float, float]]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ModelInfo, types: list[str]) -> "Known":
        """Distances from the metadata of a deployed file; gaps are those with a bump of its fence.

        Args:
            model: metadata of the file.
            types: type name of each LAMMPS type.
        """
        places = [model.type_names.index(name) for name in types]
        shortest = np.array(model.shortest_distance)[np.ix_(places, places)]
        fence = json.loads(model.entries.get("legato_fence", "{}"))
        gaps: dict[tuple[int, int], list[tuple[float, float]]] = {}
        for gap in fence.get("gaps", []):
            for i, first in enumerate(types):
                for j, second in enumerate(types):
                    if i <= j and {first, second} == set(gap["types"]):
                        gaps.setdefault((i + 1, j + 1), []).append((gap["begin"], gap["end"]))
        return cls(types, shortest, gaps)


@dataclass(frozen=True)
class Candidate:
    """A state that the model should learn from.

    Attributes:
        atoms: the whole state; arrays ``type``, ``id`` (of LAMMPS), ``names`` (of types) and
            ``flagged`` (n,) bool: the atoms concerned.
        reason: ``contact``, ``gap``, ``bonds``, ``committee``, or the criterion of a failed run.
        severity: larger is worse; comparable for the same reason only: 1 minus the ratio to the
            shortest distance, depth in a gap in Angstrom, number of wrong atoms, or eV/Angstrom.
        failed: whether the run ended here.
        run: name of the run.
        step: step of the run.
    """

    atoms: Atoms
    reason: str
    severity: float
    failed: bool
    run: str
    step: int


def gather(
    folder: Path,
    records: Iterable[Record],
    settings: Settings,
    *,
    known: Known,
    observe: Observe,
    bonds: list[Bonds],
    committee: Sequence[object] = (),
) -> list[Candidate]:
    """Failures and near-failures of an exploration.

    Successive suspicious states with an atom in common are one episode, of which the first and the
    worst state are taken. Each run adds the state with the largest disagreement of a committee, and
    the state in which it ended, if it failed.

    Args:
        folder: of the campaign.
        records: its finished runs.
        settings: its settings.
        known: distances in the training data.
        observe: limits.
        bonds: bonds that should stay.
        committee: ASE calculators; their forces are compared if there are two or more.

    Returns:
        In the order of runs and steps. States in which two atoms are closer than
        ``lowest_ratio`` allows, or atoms have no position, are left out.
    """
    watched = _watching(settings, bonds)
    found: list[Candidate] = []
    for record in sorted(records, key=lambda r: r.run):
        place = folder / "runs" / record.run
        own = _episodes(place, record, watched, known, observe)
        end = _end(place, record, watched, known)
        if end is not None and all(c.step != end.step for c in own):
            own.append(end)
        if len(committee) > 1:
            own += _disagreement(place, record, watched, known, committee)
        own = [c for c in own if closest(c.atoms, known)[0] >= observe.lowest_ratio]
        found += _thinned(own, observe.per_run)
    return found


def read_dump(path: Path, settings: Settings) -> Iterator[Atoms]:
    """The complete states of a dump in order; see `snapshot.read_state`."""
    if not path.is_file():
        return
    for text in _ITEM.split(path.read_text(encoding="utf-8", errors="replace")):
        state = read_state(io.StringIO(text), settings) if text.strip() else None
        if state is not None and np.isfinite(state.positions).all():
            yield state


def closest(atoms: Atoms, known: Known) -> tuple[float, tuple[int, int]]:
    """Smallest ratio of a distance to the shortest one in training, and the two atoms.

    Infinite if no two atoms are within the largest of these distances.
    """
    finite = known.shortest[np.isfinite(known.shortest)]
    if not len(finite):
        return np.inf, (0, 0)
    i, j, d = neighbour_list("ijd", atoms, float(finite.max()))
    types = atoms.arrays["type"] - 1
    limits = known.shortest[types[i], types[j]]
    ratio = np.where(np.isfinite(limits), d / limits, np.inf)
    if not len(ratio):
        return np.inf, (0, 0)
    k = int(ratio.argmin())
    return float(ratio[k]), (int(i[k]), int(j[k]))


def flag(atoms: Atoms, settings: Settings, known: Known) -> tuple[str, np.ndarray, float] | None:
    """Why a state is suspicious: reason, (n,) bool of the atoms, severity; None if it is not.

    Args:
        atoms: with LAMMPS types in ``arrays["type"]``.
        settings: its ``criteria.bonds`` should hold.
        known: distances in the training data.
    """
    flagged = np.zeros(len(atoms), dtype=bool)
    ratio, pair = closest(atoms, known)
    if ratio < 1.0:
        flagged[list(pair)] = True
        return "contact", flagged, 1.0 - ratio
    wrong = wrong_bonds(atoms, settings)
    if wrong.any():
        return "bonds", wrong, float(wrong.sum())
    longest = max((end for ranges in known.gaps.values() for _, end in ranges), default=0.0)
    if longest:
        i, j, d = neighbour_list("ijd", atoms, longest)
        types = atoms.arrays["type"]
        deepest = 0.0
        for (a, b), ranges in known.gaps.items():
            of_pair = (types[i] == a) & (types[j] == b)
            for begin, end in ranges:
                depth = np.where(of_pair, np.minimum(d - begin, end - d), 0.0)
                if len(depth) and depth.max() > deepest:
                    k = int(depth.argmax())
                    deepest = float(depth[k])
                    flagged[:] = False
                    flagged[[i[k], j[k]]] = True
        if deepest > 0:
            return "gap", flagged, deepest
    return None


def committee_deviations(atoms: Atoms, calculators: Sequence[object]) -> np.ndarray:
    """How much the models of a committee disagree on the force on each atom.

    Args:
        atoms: a structure.
        calculators: ASE calculators, two or more.

    Returns:
        (n,) root of the sum over x, y, z of the variance over models, eV/Angstrom.
    """
    forces = []
    for calculator in calculators:
        copy = atoms.copy()
        copy.calc = calculator
        forces.append(copy.get_forces())
    return np.sqrt(np.var(forces, axis=0, ddof=1).sum(axis=1))


def _watching(settings: Settings, bonds: list[Bonds]) -> Settings:
    return replace(settings, criteria=Criteria(bonds=tuple(bonds)))


def _episodes(
    place: Path, record: Record, settings: Settings, known: Known, observe: Observe
) -> list[Candidate]:
    episodes: list[list[Candidate]] = []
    for atoms in read_dump(place / EVENTS, settings):
        found = flag(atoms, settings, known)
        if found is None:
            continue
        now = _candidate(atoms, *found, record=record, known=known)
        last = episodes[-1][-1] if episodes else None
        lasting = last is not None and now.step - last.step <= _SAME_EPISODE * observe.every
        if last is not None and lasting and _ids(now) & _ids(last):
            episodes[-1].append(now)
        else:
            episodes.append([now])
    kept = []
    for episode in episodes:
        worst = max(episode, key=lambda c: c.severity)
        kept += [episode[0]] if worst.step == episode[0].step else [episode[0], worst]
    return kept


def _end(place: Path, record: Record, settings: Settings, known: Known) -> Candidate | None:
    if not record.failed:
        return None
    states = list(read_dump(place / inputs.END_DUMP, settings))
    if not states or len(states[-1]) != record.atoms:
        return None
    atoms = states[-1]
    forces = np.nan_to_num(np.linalg.norm(atoms.arrays["forces"], axis=1), nan=np.inf)
    found = flag(atoms, settings, known)
    mask = np.arange(len(atoms)) == int(forces.argmax()) if found is None else found[1]
    severity = float(forces.max()) if found is None else found[2]
    reason = record.criterion or "failed"
    return _candidate(atoms, reason, mask, severity, record=record, known=known, failed=True)


def _disagreement(
    place: Path,
    record: Record,
    settings: Settings,
    known: Known,
    committee: Sequence[object],
) -> list[Candidate]:
    worst: tuple[float, Atoms, np.ndarray] | None = None
    for atoms in read_dump(place / STATES, settings):
        deviations = committee_deviations(atoms, committee)
        largest = float(deviations.max())
        if worst is None or largest > worst[0]:
            worst = largest, atoms, np.arange(len(atoms)) == int(deviations.argmax())
    if worst is None:
        return []
    severity, atoms, mask = worst
    return [_candidate(atoms, "committee", mask, severity, record=record, known=known)]


def _candidate(
    atoms: Atoms,
    reason: str,
    mask: np.ndarray,
    severity: float,
    *,
    record: Record,
    known: Known,
    failed: bool = False,
) -> Candidate:
    atoms.arrays[FLAGGED] = mask
    atoms.arrays["names"] = np.array([known.names[t - 1] for t in atoms.arrays["type"]])
    return Candidate(atoms, reason, severity, failed, record.run, int(atoms.info["step"]))


def _ids(candidate: Candidate) -> set[int]:
    atoms = candidate.atoms
    return set(atoms.arrays["id"][atoms.arrays[FLAGGED]].tolist())


def _thinned(candidates: list[Candidate], most: int) -> list[Candidate]:
    if len(candidates) > most:
        places = np.linspace(0, len(candidates) - 1, most).round().astype(int)
        candidates = [candidates[k] for k in sorted(set(places.tolist()))]
    return sorted(candidates, key=lambda c: c.step)
