"""Models trained with each method, where nequip_legato is not installed."""

import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import torch
from kept import TRAINED_BY, kept_folder, tensors_of
from processes import run_process

METHODS = {
    "SAM": {"rho": 0.05, "last_fraction": 0.5},
    "momentum": {"_target_": "nequip_legato.MomentumSAM", "rho": 0.05},
    "look": {"_target_": "nequip_legato.LookSAM", "rho": 0.05},
}
EMA = {"_target_": "nequip.train.EMALightningModule", "ema_decay": 0.8}

EVALUATE = """
import importlib.util, sys
import nequip
assert importlib.util.find_spec("nequip_legato") is None
import torch, ase.io
from nequip.model.saved_models import load_saved_model
from nequip.data import from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.utils.global_state import set_global_state
set_global_state()
data = from_ase(ase.io.read(sys.argv[1]))
for t in (ChemicalSpeciesToAtomTypeMapper(["Al", "Cu"]), NeighborListTransform(4.0)):
    data = t(data)
for source, results in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
    model = load_saved_model(source)
    out = model({k: v.double() if v.is_floating_point() else v for k, v in data.items()})
    torch.save({k: out[k].detach() for k in ("total_energy", "forces")}, results)
assert not [m for m in sys.modules if m.startswith("nequip_legato")]
"""

CALCULATE = """
import importlib.util, sys
assert importlib.util.find_spec("nequip_legato") is None
import torch, ase.io
from nequip.integrations.ase import NequIPCalculator
frame = ase.io.read(sys.argv[2])
frame.calc = NequIPCalculator.from_compiled_model(
    sys.argv[1], chemical_species_to_atom_type_map={"Al": "Al", "Cu": "Cu"}
)
results = {"total_energy": [[frame.get_potential_energy()]], "forces": frame.get_forces()}
torch.save({k: torch.as_tensor(v) for k, v in results.items()}, sys.argv[3])
assert not [m for m in sys.modules if m.startswith("nequip_legato")]
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """A folder with all that is installed here, except for nequip_legato."""
    site = tmp_path_factory.mktemp("site")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "nequip_legato" not in entry.name:
            (site / entry.name).symlink_to(entry)
    return site


def python(elsewhere: Path, folder: Path, *arguments: str) -> str:
    """Python without this environment's own packages (-S)."""
    environment = {"PYTHONPATH": str(elsewhere)}
    command = [sys.executable, "-S", *arguments]
    return run_process(*command, cwd=folder, environment=environment, merge=True).stdout


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for key in ("total_energy", "forces"):
        assert one[key].abs().max() > 0
        torch.testing.assert_close(one[key], other[key], rtol=1e-12, atol=1e-12)


def main_of(script: str) -> str:
    return f"from nequip.scripts.{script} import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_checkpoints_load_and_package(train, data, elsewhere, tmp_path, method):
    run = train(method, "trainer.max_epochs=1", sam=METHODS[method], training_module=EMA)
    ours = [k for k in run.checkpoint["state_dict"] if "legato" in k.lower()]
    plain = train("plain", "trainer.max_epochs=1", training_module=EMA)
    assert ours == []
    assert run.checkpoint["state_dict"].keys() == plain.checkpoint["state_dict"].keys()
    # What is ours in the checkpoint needs no class of ours to be read.
    kept = run.checkpoint["nequip_legato_sam"]
    assert kept["method"] == METHODS[method].get("_target_", "nequip_legato.SAM").split(".")[1]

    frame, checkpoint = str(data / "val.extxyz"), str(run.folder / "last.ckpt")
    package = tmp_path / "model.nequip.zip"
    python(elsewhere, tmp_path, "-c", main_of("package"), "build", checkpoint, str(package))
    both = [checkpoint, "checkpoint.pt", str(package), "package.pt"]
    python(elsewhere, tmp_path, "-c", EVALUATE, frame, *both)
    results = [torch.load(tmp_path / f"{name}.pt") for name in ("checkpoint", "package")]
    assert_same(*results)
    with zipfile.ZipFile(package) as archive:
        assert not [n for n in archive.namelist() if n.endswith(".py") and "legato" in n]


@pytest.mark.slow
def test_checkpoints_compile_and_run(train, data, elsewhere, tmp_path):
    """Deployed by nequip-compile, for nequip's own ASE calculator, by which method is no matter."""
    run = train("SAM", "trainer.max_epochs=1", sam=METHODS["SAM"], training_module=EMA)
    frame, checkpoint = str(data / "val.extxyz"), str(run.folder / "last.ckpt")
    name = "model.nequip.pt2"

    def make(folder: Path) -> None:
        options = ["--mode", "aotinductor", "--target", "ase", "--device", "cpu"]
        python(elsewhere, folder, "-c", main_of("compile"), checkpoint, name, *options)

    parts = [tensors_of(Path(checkpoint)), *TRAINED_BY, Path(__file__)]
    compiled = str(kept_folder("compiled-without-us", parts, make) / name)
    python(elsewhere, tmp_path, "-c", EVALUATE, frame, checkpoint, "checkpoint.pt")
    python(elsewhere, tmp_path, "-c", CALCULATE, compiled, frame, "compiled.pt")
    assert_same(*(torch.load(tmp_path / f"{name}.pt") for name in ("checkpoint", "compiled")))
