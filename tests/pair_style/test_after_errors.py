"""A line that fails changes nothing, and a second pair_style counts, for programs that go on."""

import re
import shutil

import pytest
from lammps_programs import KOKKOS, WHEEL
from lammps_run import forces, lammps_input, program, succeed
from library_session import session

from nequip_legato import LegatoCalculator

pytestmark = [
    pytest.mark.usefixtures("lammps"),
    # what is read and refused does not depend on the number of threads
    pytest.mark.parametrize("lammps", [*WHEEL, KOKKOS[0]], indirect=True),
]

BAD_COEFF = {
    "file": ("pair_coeff * * nowhere.nequip.pt2 H N", "cannot open model file"),
    "damaged": ("pair_coeff * * cut.nequip.pt2 H N", "damaged"),
    "name": ("pair_coeff * * {model} H X", "no atom type named X"),
    "number": ("pair_coeff * * {model} H", "each of the 2 atom types"),
    "null": ("pair_coeff * * {model} NULL NULL", "every atom type is NULL"),
    "types": ("pair_coeff 1 2 {model} H N", "must start with * *"),
}
BAD_STYLE = {
    "block 0": "must be positive",
    "block 3 threads 100000": "threads must be between 1 and 1024",
    "block 3 blok 5": "Unknown keyword blok",
    "block 3 threads": "needs a number",
    "block 3 device gpu": "must be auto, cpu or cuda",
}
OTHER = {"per_edge_type_cutoff": {"H": 3.0, "N": {"H": 3.5, "N": 4.0}}}
START = """
    units metal
    atom_style atomic
    read_data data.lammps
    pair_style allegro_legato block 7
"""


@pytest.fixture(scope="module")
def other(deployed):
    """Another model; compiled, as what depends on the kind of file is tested elsewhere."""
    return deployed(".nequip.pt2", **OTHER)


@pytest.fixture
def energies(ammonia, compiled, other):
    """By the calculator: of the usual model, and of another one."""
    found = []
    for path in (compiled, other):
        atoms = ammonia.copy()
        atoms.calc = LegatoCalculator(path)
        found.append(pytest.approx(atoms.get_potential_energy(), abs=1e-9))
    return found


def told(folder) -> list[tuple[int, int]]:
    """Block and threads of each line that tells about a model."""
    log = (folder / "log.session").read_text()
    lines = re.findall(r"up to (\d+) atoms, (\d+) thread\(s\)", log)
    return [(int(block), int(threads)) for block, threads in lines]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_failed_pair_coeff(ranks, tmp_path, data_file, compiled, other, energies):
    """Nothing is set after a failed first one, and the last good one counts after any other."""
    content = compiled.read_bytes()
    (tmp_path / "cut.nequip.pt2").write_bytes(content[: len(content) // 2])
    lines, expected = START, []
    for line, part in BAD_COEFF.values():
        lines += f"{line.format(model=compiled)}\nrun 0 post no\n"
        expected += [part, "All pair coeffs are not set"]
    for path in (compiled, other, compiled):
        lines += f"pair_coeff * * {path} H N\nrun 0 post no\n= pe\n"
        for line, part in BAD_COEFF.values():
            lines += f"{line.format(model=path)}\nrun 0 post no\n= pe\n"
            expected.append(part)
    answers = session(tmp_path, lines, ranks=ranks)
    assert len(answers.errors) == len(expected), answers.errors
    for error, part in zip(answers.errors, expected, strict=True):
        assert part in error
    each = 1 + len(BAD_COEFF)
    assert answers.values == each * [energies[0]] + each * [energies[1]] + each * [energies[0]]


@pytest.mark.slow
def test_failed_pair_style(tmp_path, data_file, compiled, energies):
    """Its keywords are taken over all together or not at all, before and after pair_coeff."""
    lines = START
    lines += "".join(f"pair_style allegro_legato {style}\n" for style in BAD_STYLE)
    lines += f"pair_coeff * * {compiled} H N\nrun 0 post no\n= pe\n"
    for style in BAD_STYLE:
        lines += f"pair_style allegro_legato {style}\nrun 0 post no\n= pe\n"
    lines += f"pair_coeff * * {compiled} H N\nrun 0 post no\n= pe\n"
    answers = session(tmp_path, lines)
    expected = [*BAD_STYLE.values()] * 2
    assert len(answers.errors) == len(expected), answers.errors
    for error, part in zip(answers.errors, expected, strict=True):
        assert part in error
    assert told(tmp_path) == [(7, 1), (7, 1)] or program().kokkos_threads > 1
    assert answers.values == [energies[0]] * len(answers.values)


@pytest.mark.slow
def test_failed_start_of_a_run(tmp_path, data_file, compiled, energies):
    """Errors of whatever comes before the first step, ours or another's, then a correction."""
    coeff = f"pair_coeff * * {compiled} H N"
    lines = (
        START
        + f"""
        {coeff}
        variable x equal step
        fix late all halt 1 v_x > 1000
        variable x delete
        run 0
        unfix late
        run 0
        = pe
        pair_coeff * * {compiled} H NULL
        run 0
        {coeff}
        neigh_modify exclude type 1 1
        run 0
        run 0
        neigh_modify exclude none
        run 2
        = pe
        clear
        {START}
        {coeff}
        run 0
        = pe
    """
    )
    answers = session(tmp_path, lines)
    assert len(answers.errors) == 4, answers.errors
    assert "pair coeffs are not set" in answers.errors[1]
    assert all("exclude type 1 1" in error for error in answers.errors[2:])
    first, _, last = answers.values
    assert [first, last] == [energies[0], energies[0]]


@pytest.mark.slow
def test_second_pair_style(tmp_path, data_file, compiled, other, energies):
    """Keywords count from then on, and those that are not named go back to their defaults."""
    model = tmp_path / "copy.nequip.pt2"
    shutil.copy(compiled, model)
    lines = (
        START
        + f"""
        pair_coeff * * {model.name} H N
        run 0
        = pe
        shell mkdir elsewhere
        shell cd elsewhere
        pair_style allegro_legato threads 2
        run 0
        = pe
        pair_style allegro_legato
        run 0
        = pe
        shell cd ..
        shell rm {model.name}
        pair_style allegro_legato block 9
        run 0
        = pe
        shell cp {other} {model.name}
        pair_style allegro_legato block 11 threads 3
        run 0
        = pe
    """
    )
    answers = session(tmp_path, lines)
    (error,) = answers.errors
    assert "cannot open model file" in error
    assert answers.values == [energies[0]] * 4 + [energies[1]]
    threads = told(tmp_path)[0][1]
    assert told(tmp_path) == [(7, threads), (64, 2), (64, threads), (11, 3)]


@pytest.mark.slow
def test_second_pair_style_in_an_input(tmp_path, data_file, compiled):
    """The results do not change, and each line of the log says what counts."""
    pair = f"""
pair_style allegro_legato block 7
pair_coeff * * {compiled} H N
pair_style allegro_legato threads 2
"""
    changed = succeed(tmp_path, lammps_input(compiled, pair=pair, steps=3))
    usual = succeed(tmp_path, lammps_input(compiled, steps=3))
    assert forces(changed) == pytest.approx(forces(usual), abs=1e-9)
    assert "up to 7 atoms" in changed.text
    assert "up to 64 atoms, 2 thread(s)" in changed.text
