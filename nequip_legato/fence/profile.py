"""The fence's energy as a function of the distance, and its record in a deployed file.

With s the squared distance of two atoms,

    wall:  k max(0, 1 - s / r0^2)^3 r0 / r,
    bump:  h max(0, 1 - z^2)^3,    z = (s - (a^2 + b^2) / 2) / ((b^2 - a^2) / 2),

below r0 and between a and b, and exactly zero elsewhere. Both are twice continuously differentiable
where they begin. The wall grows without bound as 1 / r, like the repulsion of nuclei, while the
energy of an Allegro model is bounded; a steeper one would throw atoms that start too close out of
the box.
"""

import json
from dataclasses import asdict, dataclass

from nequip_legato.fence.settings import FenceSettings

__all__ = ["Fence", "Gap", "Wall"]


@dataclass(frozen=True)
class Wall:
    """Repulsion below the shortest distance of a pair of types.

    Attributes:
        types: names of the two types.
        shortest: shortest distance in training, Angstrom.
        begin: r0, distance below which the wall repels, Angstrom.
        strength: k, eV per pair of atoms.
        force: largest force in training on atoms of such pairs, eV/Angstrom.
        pairs: number of pairs seen in training.
    """

    types: tuple[str, str]
    shortest: float
    begin: float
    strength: float
    force: float
    pairs: int

    def energy(self, distance: float) -> float:
        """Energy of a pair of atoms, eV."""
        ratio = distance / self.begin
        return self.strength * max(0.0, 1.0 - ratio**2) ** 3 / ratio

    def repulsion(self, distance: float) -> float:
        """Force that drives the two atoms apart, eV/Angstrom."""
        x = distance / self.begin
        return self.strength * max(0.0, 1.0 - x**2) ** 2 * (5.0 * x**2 + 1.0) / x**2 / self.begin

    def curvature(self, distance: float) -> float:
        """Second derivative of the energy, eV/Angstrom^2."""
        x = distance / self.begin
        return self.strength * max(0.0, 2.0 / x**3 + 18.0 * x - 20.0 * x**3) / self.begin**2


@dataclass(frozen=True)
class Gap:
    """A bump in a gap of the distances of a pair of types.

    Attributes:
        types: names of the two types.
        seen: the distances in training on either side of the gap, Angstrom.
        begin: a, Angstrom.
        end: b, Angstrom.
        height: h, eV per pair of atoms.
        force: largest force in training on atoms of such pairs beside the gap, eV/Angstrom.
        pairs: number of pairs seen in training below and above.
    """

    types: tuple[str, str]
    seen: tuple[float, float]
    begin: float
    end: float
    height: float
    force: float
    pairs: tuple[int, int]

    def energy(self, distance: float) -> float:
        """Energy of a pair of atoms, eV."""
        middle = 0.5 * (self.end**2 + self.begin**2)
        half_width = 0.5 * (self.end**2 - self.begin**2)
        return self.height * max(0.0, 1.0 - ((distance**2 - middle) / half_width) ** 2) ** 3


# Table entries of a wall and a bump that never act.
_NO_WALL = [1e30, 0.0]
_NO_BUMP = [-2.0, 1.0, 0.0]


@dataclass(frozen=True)
class Fence:
    """All walls and bumps of a model.

    Attributes:
        settings: how they were chosen.
        n_frames: number of training frames, all of which were looked at.
        walls: at most one per pair of types.
        gaps: none unless asked for.
        notes: what a user should know, in words.
    """

    settings: FenceSettings
    n_frames: int
    walls: tuple[Wall, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...] = ()

    def described(self) -> dict[str, str]:
        """Rows of name and value for ``nequip-deploy info``."""
        settings = self.settings
        rows = {
            "fence": f"{settings.kind}, from all {self.n_frames} training frames, to resist "
            f"{settings.temperature:g} K"
        }
        for wall in self.walls:
            rows[f"wall {'-'.join(wall.types)}"] = (
                f"below {wall.begin:.3f} Angstrom, {wall.strength:.4g} eV (shortest distance in "
                f"training {wall.shortest:.3f} Angstrom, force there {wall.force:.3g} eV/Angstrom)"
            )
        for number, gap in enumerate(self.gaps, 1):
            rows[f"bump {number} {'-'.join(gap.types)}"] = (
                f"{gap.begin:.3f} to {gap.end:.3f} Angstrom, {gap.height:.4g} eV (training has "
                f"none between {gap.seen[0]:.3f} and {gap.seen[1]:.3f} Angstrom)"
            )
        rows |= {f"fence note {n}": note for n, note in enumerate(self.notes, 1)}
        return rows

    def to_json(self) -> str:
        """For the metadata of a deployed file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Fence":
        """The reverse of :meth:`to_json`."""
        content = json.loads(text)
        return cls(
            settings=FenceSettings(**content["settings"]),
            n_frames=content["n_frames"],
            walls=tuple(Wall(**_tuples(wall)) for wall in content["walls"]),
            gaps=tuple(Gap(**_tuples(gap)) for gap in content["gaps"]),
            notes=tuple(content["notes"]),
        )

    def table(self, type_names: list[str], cutoffs: list[list[float]]) -> list[list[float]]:
        """Parameters of the deployed graph: one row per (center type, neighbor type).

        Columns: 1 / r0^2, k, and for each bump (a^2 + b^2) / 2, 2 / (b^2 - a^2), h. Each of a
        pair's two edges has half of its energy. If a fence reaches beyond the cutoff of one
        direction, that edge is missing there, so the other edge has all of the energy.

        Args:
            type_names: the model's.
            cutoffs: [center type][neighbor type], Angstrom.

        Returns:
            T * T rows of equal length.
        """
        n_types = len(type_names)
        rows = []
        for pair in range(n_types * n_types):
            i, j = divmod(pair, n_types)
            names = {type_names[i], type_names[j]}
            walls = [w for w in self.walls if set(w.types) == names]
            gaps = [g for g in self.gaps if set(g.types) == names]
            reach = max([w.begin for w in walls] + [g.end for g in gaps], default=0.0)
            share = 0.5
            if reach > min(cutoffs[i][j], cutoffs[j][i]):
                share = 1.0 if cutoffs[i][j] > cutoffs[j][i] else 0.0
            row = list(_NO_WALL)
            if walls:
                row = [1.0 / walls[0].begin ** 2, share * walls[0].strength]
            for gap in gaps:
                low, high = gap.begin**2, gap.end**2
                row += [0.5 * (low + high), 2.0 / (high - low), share * gap.height]
            rows.append(row)
        longest = max(map(len, rows))
        return [row + _NO_BUMP * ((longest - len(row)) // 3) for row in rows]


def _tuples(content: dict) -> dict:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
