"""The report of the speed benchmark says what the measurements say."""

import json
from pathlib import Path

import pytest

MD = Path(__file__).parents[2] / "benchmarks" / "md"


def row(name, atoms, repeat, cpu, **more):
    """A measurement; the wall clock is twice the processor's."""
    times = {"cpu": cpu, "wall": 2 * cpu, "faults": 0, "energy": 0.0}
    return {"name": name, "atoms": atoms, "repeat": repeat, "threads": 1, "block": 0} | times | more


@pytest.fixture
def ratios(monkeypatch, tmp_path):
    """Function: (rows of whole.json, rows of md.json) -> ratios by what they are of."""
    monkeypatch.syspath_prepend(str(MD))
    from report import report

    def get(whole=(), md=()):
        for name, rows in (("whole", whole), ("md", md)):
            (tmp_path / f"{name}.json").write_text(json.dumps(list(rows)))
        report(tmp_path, machine={"load": "1.0"})
        found = json.loads((tmp_path / "ratios.json").read_text())["ratios"]
        assert (tmp_path / "tables.md").read_text().count("| ratio |") == 1
        assert (tmp_path / "speed.png").stat().st_size > 1000
        return {r["what"]: r for r in found}

    return get


def test_ratios_are_formed_within_a_repeat(ratios):
    """The machine was ten times slower in the second repeat, for all alike."""
    slow = (1, 10, 1)
    whole = [row("whole: TorchScript", 3456, i, 4.0 * s) for i, s in enumerate(slow)]
    mine = [
        row("blocks: TorchScript", 3456, i, 2.0 * s, model=1.9 * s, engine=2.0 * s, block=128)
        for i, s in enumerate(slow)
    ]
    found = ratios(whole=whole + mine)
    assert found["whole TorchScript / blocks TorchScript, 3456 atoms"]["cpu"] == pytest.approx(2)
    outside = found["outside of the model, TorchScript, 3456 atoms"]
    assert outside["cpu"] == pytest.approx(0.05)


def test_memory_is_what_lammps_alone_does_not_need(ratios):
    md = []
    for name, per_atom in (("AOTInductor", 5000), ("no model", 3000)):
        for atoms in (432, 3456):
            more = {"memory": 10**8 + per_atom * atoms, "ranks": 1, "pair": 0.9}
            md.append(row(name, atoms, 0, 1e-4 * atoms, **more))
    found = ratios(md=md)
    key = "bytes of memory per atom beyond LAMMPS' own, AOTInductor"
    assert found[key]["cpu"] == pytest.approx(2000)
    key = "time per atom, 3456 / 432 atoms, LAMMPS, AOTInductor"
    assert found[key]["cpu"] == pytest.approx(1.0)
