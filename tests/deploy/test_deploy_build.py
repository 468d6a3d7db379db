"""From checkpoint or package to file: weights, metadata, checks."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from models import CUTOFF
from processes import run_process

from nequip_legato.deploy import build, builder, export, info
from nequip_legato.deploy.blocks import evaluate_in_blocks
from nequip_legato.deploy.check import compare, reference_of
from nequip_legato.deploy.export import load_deployed
from nequip_legato.errors import LegatoError
from nequip_legato.trained.checkpoint import open_source

CUTOFFS = torch.full((2, 2), CUTOFF, dtype=torch.float64)


@pytest.mark.slow
def test_ema_weights_are_deployed(checkpoint, deployed, unseen, as_frame):
    path = checkpoint(ema=True)
    frame = as_frame(unseen)
    stored = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    model = open_source(path, model_key="sole_model").model
    for k, weight in enumerate(model.parameters()):
        assert torch.equal(weight, stored[f"ema.ema_weight_{k}"])
    averaged = reference_of(model, frame).sums.forces
    prefix = "model.sole_model."
    # nequip stores the raw weights under "model." and the averaged ones under "ema."
    raw = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
    model.load_state_dict(raw, strict=False)
    plain = reference_of(model, frame).sums.forces
    found = evaluate_in_blocks(
        load_deployed(deployed(ema=True), device="cpu"), frame, cutoffs=CUTOFFS
    ).forces
    largest = float(averaged.abs().max())
    assert float((averaged - plain).abs().max()) > 1e-3 * largest
    torch.testing.assert_close(found, averaged, rtol=0, atol=1e-8 * largest)


def test_metadata(checkpoint, deployed, training_frames):
    path = deployed()
    found = info(path)
    assert found.usable
    assert found.remark == ""
    assert found.entries["legato_format"] == "1"
    assert found.type_names == ["H", "N"]
    assert found.cutoff == CUTOFF
    assert (found.dtype, found.device, found.units) == ("float64", "cpu", "metal")
    assert found.training == {}
    assert found.versions["torch"] == torch.__version__
    assert found.domain_frames == len(training_frames)
    forces = max(np.linalg.norm(a.get_forces(), axis=1).max() for a in training_frames)
    assert found.largest_force == forces  # written with all its digits
    for i, first in enumerate("HN"):
        for j, second in enumerate("HN"):
            shortest = np.inf
            for atoms in training_frames:
                distances = atoms.get_all_distances(mic=True)
                np.fill_diagonal(distances, np.inf)
                symbols = np.array(atoms.get_chemical_symbols())
                pair = distances[np.ix_(symbols == first, symbols == second)]
                shortest = min(shortest, pair.min())
            assert found.shortest_distance[i][j] == pytest.approx(shortest, abs=1e-9)


def test_nequips_own_loader_reads_the_file(deployed):
    from nequip.model.inference_models import load_torchscript_model

    _, metadata = load_torchscript_model(str(deployed()))
    assert metadata["type_names"] == ["H", "N"]
    assert metadata["r_max"] == CUTOFF


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sam", "said"),
    [
        ({"rho": 0.01}, "SAM rho=0.01"),
        ({"_target_": "nequip_legato.LookSAM", "every": 2}, "LookSAM every=2"),
    ],
    ids=["SAM", "LookSAM"],
)
def test_sam_settings_are_kept(checkpoint, deployed, sam, said):
    checkpoint(sam=sam)
    found = info(deployed(sam=sam))
    assert found.training == {"_target_": "nequip_legato.SAM", **sam}
    assert f"  {said}" in str(found)


def test_info_needs_no_torch(deployed):
    blocked = "import sys; sys.modules['torch'] = sys.modules['nequip'] = None; "
    call = "from nequip_legato.cli import deploy_main; sys.exit(deploy_main(sys.argv[1:]))"
    done = run_process(sys.executable, "-c", blocked + call, "info", deployed())
    assert "H-N" in done.stdout


@pytest.mark.slow
def test_package_with_and_without_its_training_data(package, checkpoint, elsewhere, tmp_path):
    data = [checkpoint().with_name(f"{part}.extxyz") for part in ("train", "val")]
    copies = [Path(shutil.copy(file, tmp_path)) for file in data]
    path = package(elsewhere(str(tmp_path / "{}.extxyz")))
    assert build(path, tmp_path / "with.nequip.pth").info.domain_frames == 8
    for file in copies:
        file.unlink()
    assert build(path, tmp_path / "without.nequip.pth").info.domain_frames == 1


@pytest.mark.slow
def test_packaged_message_passing_model_is_refused(package, checkpoint, tmp_path):
    with pytest.raises(LegatoError, match=r"message-passing model \(ConvNetLayer, Inter"):
        build(package(checkpoint(kind="nequip")), tmp_path / "m.nequip.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_message_passing_shows_in_the_numbers(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "refuse_nonlocal", lambda model, path: None)
    with pytest.raises(LegatoError, match=r"evaluation in blocks differs .* force \d\.\de"):
        build(checkpoint(kind="nequip"), tmp_path / "m.nequip.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_wrong_file_does_not_appear(checkpoint, tmp_path, monkeypatch):
    """A file that is not the model: the last layer's weights are changed while it is written."""
    write = export.save_torchscript

    def write_wrongly(model, metadata, path, *, device):
        with torch.no_grad():
            [*model.parameters()][-1].mul_(1 + 1e-6)
        write(model, metadata, path, device=device)

    monkeypatch.setattr(export, "save_torchscript", write_wrongly)
    with pytest.raises(LegatoError, match=r"the deployed file differs .* allowed for float64"):
        build(checkpoint(), tmp_path / "m.nequip.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["atomic_energy", "edge_forces"])
def test_not_a_number_is_a_difference(key, checkpoint, unseen, as_frame):
    model = open_source(checkpoint(), model_key="sole_model").model
    references = [reference_of(model, as_frame(unseen))]
    calls = []

    def broken(inputs):
        outputs = model(inputs)
        if not calls:
            outputs[key] = outputs[key].detach().clone()
            outputs[key][0] = float("nan")
        calls.append(1)
        return outputs

    with pytest.raises(LegatoError, match="nan"):
        compare(broken, references, cutoffs=CUTOFFS, dtype="float64", what="it")


@pytest.mark.slow
def test_existing_file_survives_a_failure(checkpoint, tmp_path):
    target = tmp_path / "m.nequip.pth"
    target.write_text("precious")
    with pytest.raises(LegatoError):
        build(checkpoint(kind="nequip"), target)
    assert target.read_text() == "precious"
    build(checkpoint(), target)
    assert info(target).usable
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.slow
def test_frames_from_a_file(checkpoint, training_frames, tmp_path):
    import ase.io

    ase.io.write(tmp_path / "few.extxyz", training_frames[:2])
    done = build(checkpoint(), tmp_path / "m.nequip.pth", frames=tmp_path / "few.extxyz")
    assert done.info.domain_frames == 2
    assert done.deviations.n_frames == 3  # isolated atoms, too
    for atoms in training_frames[:2]:
        atoms.calc = None
    ase.io.write(tmp_path / "bare.xyz", training_frames[:2])
    done = build(checkpoint(), tmp_path / "m.nequip.pth", frames=tmp_path / "bare.xyz")
    assert np.isnan(done.info.largest_force)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["beside", "above", "hydra"])
def test_relative_training_data_are_found(where, checkpoint, elsewhere, tmp_path, monkeypatch):
    """The configuration says ``train.extxyz``, and deployment runs elsewhere than training did."""
    path = elsewhere("{}.extxyz")
    trained = checkpoint().parent
    if where == "hydra":  # nequip-train ran in the folder of the data, says hydra's record
        shutil.copytree(trained / "hydra" / ".hydra", path.parent / ".hydra")
    else:
        folder = path.parent if where == "beside" else path.parent.parent
        for part in ("train", "val"):
            shutil.copy(trained / f"{part}.extxyz", folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert build(path, "m.nequip.pth").info.domain_frames == 8


@pytest.mark.slow
def test_modifiers(checkpoint, tmp_path):
    done = build(checkpoint(), tmp_path / "m.nequip.pth", modifiers=["enable_ForceStressOutput"])
    assert done.deviations.force <= 1e-8 * done.deviations.largest_force
