"""What a fence is made of, from distances alone."""

import numpy as np
import pytest
import torch
from ase.units import kB

from nequip_legato.deploy.fence_reference import dimers_in_reach, fence_sums
from nequip_legato.errors import LegatoError
from nequip_legato.fence import Fence, FenceSettings, Survey, choose_fence
from nequip_legato.trained.frames import Frame

CUTOFFS = torch.full((2, 2), 5.0, dtype=torch.float64)
NAMES = ["A", "B"]


def dimers(pairs, forces=None, cutoffs=CUTOFFS) -> Frame:
    """Isolated pairs of atoms: (first type, second type, distance)."""
    n = len(pairs)
    positions = torch.zeros(2 * n, 3, dtype=torch.float64)
    positions[:, 1] = 100.0 * torch.arange(2 * n).div(2, rounding_mode="floor")
    types = torch.zeros(2 * n, dtype=torch.int64)
    edges = []
    for k, (a, b, distance) in enumerate(pairs):
        positions[2 * k + 1, 0] = distance
        types[2 * k], types[2 * k + 1] = a, b
        if distance < cutoffs[a, b]:
            edges.append((2 * k, 2 * k + 1))
        if distance < cutoffs[b, a]:
            edges.append((2 * k + 1, 2 * k))
    return Frame(positions, None, types, torch.tensor(edges).view(-1, 2).T, None, forces)


def choose(*frames, cutoffs=CUTOFFS, unlabeled=lambda: 4.0, **settings) -> Fence:
    survey = Survey(cutoffs)
    for frame in frames:
        survey.add(frame)
    chosen = FenceSettings(**settings)
    return choose_fence(survey, chosen, type_names=NAMES, unlabeled_force=unlabeled)


def shells(rng, n: int = 300) -> Frame:
    """A-B bonds at 0.9 to 1.2 A, neighbors beyond 1.9 A; A-A from 1.5 A on without a gap."""
    pairs = [(0, 1, x) for x in [0.9, 1.2, *rng.uniform(0.9, 1.2, n)]]
    pairs += [(1, 0, x) for x in [1.9, *rng.uniform(1.9, 4.9, n)]]
    pairs += [(0, 0, x) for x in np.linspace(1.5, 4.9, n)]
    return dimers(pairs)


def test_walls_and_gaps():
    fence = choose(shells(np.random.default_rng(1)), kind="gaps")
    walls = {wall.types: wall for wall in fence.walls}
    assert set(walls) == {("A", "A"), ("A", "B")}
    wall = walls["A", "B"]
    assert wall.shortest == 0.9
    assert wall.begin == pytest.approx(0.95 * 0.9)
    assert (wall.pairs, walls["A", "A"].pairs) == (603, 300)
    # what the settings say: 5 kB T, and the force at the edge of the data
    for wall in fence.walls:
        depth = reached(wall, 5.0 * kB * 2000.0)
        assert depth >= 0.15 * wall.begin * (1 - 1e-9)
        assert wall.repulsion(wall.begin - depth) >= 4.0
        assert wall.curvature(wall.begin - depth) <= 100.0 * (1 + 1e-9)
    (gap,) = fence.gaps
    assert gap.types == ("A", "B")
    assert gap.seen == (1.2, 1.9)
    assert (gap.begin, gap.end) == pytest.approx((1.02 * 1.2, 0.98 * 1.9))
    assert gap.pairs == (302, 301)
    assert gap.energy(np.sqrt((gap.begin**2 + gap.end**2) / 2)) == pytest.approx(gap.height)
    assert any("forbids A-B between 1.224 and 1.862 A" in note for note in fence.notes)
    assert any("do not react" in note for note in fence.notes)
    assert any("B-B has no wall" in note for note in fence.notes)
    assert Fence.from_json(fence.to_json()) == fence


def reached(term, energy: float) -> float:
    """How deep an atom with that energy comes into a wall, Angstrom."""
    r = np.linspace(0.3 * term.begin, term.begin, 200001)
    inside = np.array([term.energy(x) for x in r])
    return term.begin - r[np.flatnonzero(inside >= energy)[-1]]


def test_derivatives_of_a_wall():
    (wall,) = choose(dimers([(0, 0, 1.0)])).walls
    for r in (0.9, 0.7, 0.4):
        sides = [wall.energy(r + h) for h in (-1e-5, 0.0, 1e-5)]
        assert wall.repulsion(r) == pytest.approx((sides[0] - sides[2]) / 2e-5, rel=1e-6)
        assert wall.curvature(r) == pytest.approx(second_derivative(wall.energy, r), rel=1e-5)
    assert (wall.repulsion(1.0), wall.curvature(1.0)) == (0.0, 0.0)


def test_a_strong_force_asks_for_a_strong_wall():
    pairs, force = [(0, 0, 2.3)], [[30.0, 0, 0], [-30.0, 0, 0]]
    weak, strong = (
        choose(dimers(pairs, forces)).walls[0]
        for forces in torch.tensor([np.zeros((2, 3)).tolist(), force], dtype=torch.float64)
    )
    assert strong.strength > weak.strength
    distances = np.linspace(0.5, 1.0, 51) * strong.begin
    assert max(strong.repulsion(r) for r in distances) >= 30.0


@pytest.mark.parametrize("shortest", [0.74, 0.88, 1.31, 2.41])
def test_time_steps_that_resolve_bonds_resolve_walls(shortest):
    """Atoms that run into a wall with 5 kB T leave it with their energy.

    Two hydrogen atoms, the lightest there are, and 0.5 fs. A wall that has its energy within a
    tenth of an Angstrom throws them out with more.
    """
    (wall,) = choose(dimers([(0, 0, shortest)])).walls
    mass, step = 0.5 * 1.008 * 103.6427, 0.5  # eV fs^2/Angstrom^2, fs
    kinetic = 5.0 * kB * 2000.0
    for phase in np.linspace(0.0, 1.0, 7):
        r, v = wall.begin + 0.05 * phase, -np.sqrt(2 * kinetic / mass)
        while r < wall.begin + 0.1 or v < 0:
            v += 0.5 * step * wall.repulsion(r) / mass
            r += step * v
            v += 0.5 * step * wall.repulsion(r) / mass
        assert 0.5 * mass * v**2 == pytest.approx(kinetic, rel=0.03)


def test_plain_walls_forbid_no_gap():
    fence = choose(shells(np.random.default_rng(1)))
    assert fence.gaps == ()
    assert not any("forbids" in note for note in fence.notes)


@pytest.mark.parametrize(
    ("settings", "found"),
    [({}, 1), ({"gap_width": 0.7}, 0), ({"gap_pairs": 302}, 0), ({"gap_pairs": 301}, 1)],
    ids=str,
)
def test_limits_of_gaps(settings, found):
    fence = choose(shells(np.random.default_rng(2)), kind="gaps", **settings)
    assert len(fence.gaps) == found
    assert found or any("no gap" in note for note in fence.notes)


def test_bumps_of_narrow_gaps_are_no_stiffer_than_asked():
    pairs = [(0, 0, x) for x in np.linspace(0.9, 1.2, 150)]
    pairs += [(0, 0, x) for x in np.linspace(1.45, 4.9, 150)]
    (gap,) = choose(dimers(pairs), kind="gaps", stiffness=50.0).gaps
    x = np.linspace(gap.begin, gap.end, 4001)
    curvature = np.gradient(np.gradient([gap.energy(r) for r in x], x), x)
    assert 40.0 < curvature.max() < 60.0  # a function of the squared distance, hence not quite 50


def test_the_force_comes_from_atoms_at_the_edge():
    """A large force elsewhere makes no wall stiffer."""
    pairs = [(0, 0, 1.0), (0, 0, 1.05), (0, 0, 3.0)]
    forces = torch.tensor([[2.0, 0, 0]] * 4 + [[50.0, 0, 0]] * 2, dtype=torch.float64)
    (wall,) = choose(dimers(pairs, forces), unlabeled=lambda: 1 / 0).walls
    assert wall.force == 2.0


def test_few_pairs_are_told():
    assert any("only 1 pairs" in note for note in choose(dimers([(0, 0, 1.0)])).notes)


def test_every_frame_counts():
    frames = [dimers([(0, 1, 1.0 + 0.01 * k)]) for k in range(40)]
    for shortest in (0, 17, 39):
        shuffled = frames[shortest:] + frames[:shortest]
        fence = choose(*shuffled)
        assert fence.n_frames == 40
        assert fence.walls[0].shortest == 1.0


def second_derivative(energy, x, h=1e-4):
    return (energy(x + h) - 2 * energy(x) + energy(x - h)) / h**2


def test_twice_continuously_differentiable():
    """On both sides of every end, energy, slope and curvature go to zero."""
    fence = choose(shells(np.random.default_rng(3)), kind="gaps")
    ends = [(wall, wall.begin, -1) for wall in fence.walls]
    ends += [
        (gap, end, side) for gap in fence.gaps for end, side in ((gap.begin, 1), (gap.end, -1))
    ]
    for term, end, inside in ends:
        largest = abs(second_derivative(term.energy, end + 0.05 * inside))
        assert largest > 1.0
        assert term.energy(end) == pytest.approx(0.0, abs=1e-12)
        assert term.energy(end - 1e-9 * inside) == 0.0
        # curvature grows linearly from zero: ten times nearer, about ten times smaller
        near = [abs(second_derivative(term.energy, end + d * inside)) for d in (2e-2, 2e-3)]
        assert near[1] < 0.15 * near[0] < 0.15 * largest
        slope = (term.energy(end + 1e-3 * inside) - term.energy(end)) / 1e-3
        assert abs(slope) < 1e-2


def test_walls_grow_without_bound():
    for wall in choose(shells(np.random.default_rng(3))).walls:
        energies = [wall.energy(r) for r in np.geomspace(wall.begin, 1e-6, 200)]
        assert (np.diff(energies) > 0).all()
        assert energies[-1] > 1e6


def test_reference_is_the_formula():
    """Sums over frames against the energy of each pair, and forces against differences."""
    fence = choose(shells(np.random.default_rng(4)), kind="gaps")
    frame = dimers_in_reach(fence, NAMES, CUTOFFS)
    sums = fence_sums(fence, frame, NAMES, CUTOFFS)
    terms = {t.types: [] for t in fence.walls}
    for term in (*fence.walls, *fence.gaps):
        terms[term.types].append(term)
    for k in range(frame.n_atoms // 2):
        names = tuple(NAMES[t] for t in frame.types[2 * k : 2 * k + 2])
        vector = frame.positions[2 * k + 1] - frame.positions[2 * k]
        distance = float(vector.norm())

        def energy(r, names=names):
            return sum(term.energy(r) for term in terms[names])

        assert energy(distance) > 0.0
        assert float(sums.energies[2 * k : 2 * k + 2].sum()) == pytest.approx(energy(distance))
        slope = (energy(distance + 1e-6) - energy(distance - 1e-6)) / 2e-6
        expected = -slope * vector / distance
        torch.testing.assert_close(sums.forces[2 * k + 1], expected, rtol=1e-6, atol=1e-6)


def test_cutoffs_that_differ_by_direction():
    """A pair's energy counts once, also where it is an edge of one of its atoms only."""
    cutoffs = torch.tensor([[5.0, 1.5], [5.0, 5.0]], dtype=torch.float64)
    pairs = [(0, 1, x) for x in np.linspace(1.9, 4.9, 300)]
    fence = choose(dimers(pairs, cutoffs=cutoffs), cutoffs=cutoffs)
    (wall,) = fence.walls
    assert wall.pairs == 300
    assert wall.begin > 1.5
    for distance in (1.3, 1.499, 1.501, 1.7):
        frame = dimers([(0, 1, distance)], cutoffs=cutoffs)
        total = float(fence_sums(fence, frame, NAMES, cutoffs).energies.sum())
        assert total == pytest.approx(wall.energy(distance), rel=1e-12)


def test_distances_beyond_their_cutoff_do_not_count():
    cutoffs = torch.tensor([[2.0, 5.0], [5.0, 5.0]], dtype=torch.float64)
    frame = dimers([(0, 0, 2.5), (0, 1, 1.0)])  # with an edge that the model would not have
    fence = choose(frame, cutoffs=cutoffs)
    assert [wall.types for wall in fence.walls] == [("A", "B")]


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "moat"},
        {"margin": 0.0},
        {"margin": float("nan")},
        {"gap_margin": 0.7},
        {"temperature": -1.0},
        {"temperature": float("inf")},
        {"barrier": 0.0},
        {"penetration": 1.0},
        {"gap_width": 0.0},
        {"gap_pairs": 0},
        {"stiffness": 0.0},
    ],
    ids=str,
)
def test_settings_without_sense_are_refused(settings):
    name = "moat" if "kind" in settings else next(iter(settings))
    with pytest.raises(LegatoError, match=name):
        FenceSettings(**settings)
