"""From a trained model to a deployed file: load, export, check, and only then let it appear."""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from nequip.train.lightning import _SOLE_MODEL_KEY

from nequip_legato.deploy import export
from nequip_legato.deploy.channels import repeat_weights
from nequip_legato.deploy.check import (
    Deviations,
    Reference,
    compare,
    isolated_atoms,
    reference_of,
)
from nequip_legato.deploy.contraction import contract_centers_first
from nequip_legato.deploy.cpu_library import can_link_kernels
from nequip_legato.deploy.domain import domain_of
from nequip_legato.deploy.fencing import put_up_fence, survey_domain
from nequip_legato.deploy.finished import CHECK_LIMIT, FinishedFile, check_finished, find_engine
from nequip_legato.deploy.metadata import (
    check_entries,
    cutoffs_of,
    legato_entries,
    model_entries,
)
from nequip_legato.deploy.on_cpu import use_cpu_kernels
from nequip_legato.deploy.on_gpu import has_triton, use_gpu_kernels
from nequip_legato.deployed.reader import ModelInfo, info, kind_of
from nequip_legato.errors import LegatoError, ValueLegatoError
from nequip_legato.fence.profile import Fence
from nequip_legato.fence.settings import FenceSettings, as_settings
from nequip_legato.files import scratch_folder
from nequip_legato.trained.checkpoint import (
    Source,
    apply_modifiers,
    open_source,
    refuse_nonlocal,
)
from nequip_legato.trained.dataset import Frames, find_frames
from nequip_legato.trained.frames import Frame

__all__ = ["DEVICES", "KERNELS", "Deployed", "build"]

DEVICES = ("cpu", "cuda")
KERNELS = ("auto", "off")


@dataclass(frozen=True)
class Deployed:
    """A deployed file.

    Attributes:
        path: the file.
        info: its metadata.
        deviations: largest differences from nequip's eager model; None if it was not checked.
    """

    path: Path
    info: ModelInfo
    deviations: Deviations | None


def build(
    model_path: str | Path,
    output_path: str | Path,
    *,
    device: str = "cpu",
    frames: str | Path | None = None,
    model_key: str = _SOLE_MODEL_KEY,
    modifiers: Sequence[str] = (),
    check_frames: int = 3,
    check_limit: float = CHECK_LIMIT,
    energy_model: bool = False,
    fence: FenceSettings | str | None = None,
    kernels: str = "auto",
    checked: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> Deployed:
    """Deploy a trained Allegro model for ``pair_style allegro_legato``.

    The file is written beside its final place and checked there: in a separate process the engine
    that LAMMPS uses loads it and evaluates it in blocks, and the results are compared with nequip's
    eager model. Only then does it get its name, so a file of that name is always complete and
    correct.

    Args:
        model_path: nequip checkpoint (``.ckpt``) or package (``.nequip.zip``). It is unpickled, as
            by nequip's own commands: use only files that you trust. EMA weights are taken where
            there are any.
        output_path: ``*.nequip.pth`` for TorchScript, ``*.nequip.pt2`` for AOTInductor.
        device: ``cpu`` or ``cuda``. A TorchScript file can be loaded on either.
        frames: file of the training frames, anything that ASE reads, if the training data cannot
            be found; domain and checks come from it.
        model_key: which model, where the checkpoint holds several.
        modifiers: nequip's model modifiers to apply, by name.
        check_frames: number of frames to compare on.
        check_limit: seconds until the check of the finished file counts as hanging.
        energy_model: add a second model to an AOTInductor file that gives energies alone, for Monte
            Carlo moves; compiling takes half as long again. TorchScript files need no second model.
        fence: add a repulsive energy at distances that no training frame has: ``wall``, ``gaps``,
            or settings; see docs/fence.md. All training frames are then read.
        kernels: ``auto``, the kernels of ``nequip_legato.kernels`` in AOTInductor files (C++ for
            ``cpu``; Triton for ``cuda``, float32 models only), or ``off``.
        checked: False leaves out the check of the finished file, for a machine where the check
            cannot run; ``info`` then says so. The blocks of the eager model are still checked.
        report: called with a line of text at the start of each phase.

    Raises:
        LegatoError: if anything is wrong with the input, the machine, or the deployed model.
    """
    source_path, target = Path(model_path), Path(output_path)
    kind = kind_of(target)
    _check_machine(target, kind, device)
    _check_options(check_frames=check_frames, kernels=kernels, check_limit=check_limit)
    fence = as_settings(fence)
    with _scratch_beside(target) as scratch:
        source = _opened(source_path, model_key, report)
        model = apply_modifiers(source.model, modifiers, persistent=True)
        entries = model_entries(model)
        cutoffs, dtype = cutoffs_of(entries), entries["model_dtype"]
        data = find_frames(
            source,
            frames=None if frames is None else Path(frames),
            r_max=float(cutoffs.max()),
        )
        report(f"reading {data.total if fence else len(data)} frames from {data.origin}")
        if fence is None:
            domain = domain_of(data, num_types=len(cutoffs))
        else:
            domain, survey = survey_domain(data, cutoffs)
        references = _references(model, data, count=check_frames, cutoffs=cutoffs)
        # Before minutes of compilation: does evaluation in blocks give what the model gives?
        compare(model, references, cutoffs=cutoffs, dtype=dtype, what="evaluation in blocks")
        engine = find_engine(report) if checked else None

        entries |= legato_entries(source, domain, device=device, origin=data.origin)
        isolated = references[-1].sums.energies[: len(cutoffs)].tolist()
        entries["legato_isolated_energy"] = " ".join(map(repr, isolated))
        model = apply_modifiers(model, modifiers, persistent=False)
        if fence is not None:
            references = put_up_fence(
                model, survey, fence, cutoffs=cutoffs, references=references, entries=entries
            )
            for note in Fence.from_json(entries["legato_fence"]).notes:
                report(f"note: {note}")
        if not checked:
            entries["legato_unchecked"] = "1"
        ours = _kernels_for(kind, device, dtype) if kernels == "auto" else ""
        remedy = _remedy(kind, modifiers, kernels=ours)
        way = _Way(kind, device, energy_model=energy_model, kernels=ours, remedy=remedy)
        _write(contract_centers_first(model), entries, references, scratch, way, report)
        deviations = None
        if checked:
            report(
                f"checking against the eager model{' and the fence' if fence else ''}: "
                f"{len(references) - (2 if fence else 1)} frames, isolated atoms"
            )
            finished = FinishedFile(scratch, device, dtype, cutoffs, remedy, energy_model)
            deviations = check_finished(finished, references, engine=engine, limit=check_limit)
        os.replace(scratch, target)
    return Deployed(target, info(target), deviations)


@dataclass(frozen=True)
class _Way:
    """How a file is written.

    Attributes:
        kind: ``TorchScript`` or ``AOTInductor``.
        device: ``cpu`` or ``cuda``.
        energy_model: whether an AOTInductor file gets a second model for energies alone.
        kernels: which of this package's kernels it uses, ``triton`` or ``cpp``; empty for none.
        remedy: what to try if writing fails.
    """

    kind: str
    device: str
    energy_model: bool
    kernels: str
    remedy: str


def _write(
    model: torch.nn.Module,
    entries: dict[str, str],
    references: Sequence[Reference],
    path: Path,
    way: _Way,
    report: Callable[[str], None],
) -> None:
    """Write a file; ``entries`` get what it holds besides the model."""
    if way.kernels:
        entries["legato_kernels"] = way.kernels
    if way.kind == "TorchScript":
        report("scripting")
        export.save_torchscript(model, entries, path, device=way.device)
    else:
        report("compiling with AOTInductor (a minute or two)")
        example = max((r.frame for r in references), key=lambda f: f.n_edges)
        _compile(model, entries, path, way, example)
    check_entries(path, entries)


def _compile(
    model: torch.nn.Module, entries: dict[str, str], path: Path, way: _Way, example: Frame
) -> None:
    model = repeat_weights(model)
    if way.kernels == "triton":
        model = use_gpu_kernels(model)
    elif way.kernels == "cpp":
        model = use_cpu_kernels(model, dtype=entries["model_dtype"])
    second = None
    if way.energy_model:
        entries["legato_energy_model"] = "1"
        second = apply_modifiers(
            copy.deepcopy(model), ["disable_ForceStressOutput"], persistent=True
        )
    export.save_aotinductor(
        model,
        entries,
        path,
        device=way.device,
        data=example.by_edge_vectors(),
        energy_model=second,
        kernels=way.kernels,
        remedy=way.remedy,
    )


def _opened(path: Path, model_key: str, report: Callable[[str], None]) -> Source:
    report(f"loading {path}")
    source = open_source(path, model_key=model_key)
    for note in source.notes:
        report(f"note: {note}")
    refuse_nonlocal(source.model, path)
    return source


def _kernels_for(kind: str, device: str, dtype: str) -> str:
    if kind != "AOTInductor":
        return ""
    if device == "cpu":
        return "cpp" if can_link_kernels() else ""
    return "triton" if dtype == "float32" and has_triton() else ""


def _check_options(*, check_frames: int, kernels: str, check_limit: float) -> None:
    if check_frames < 1:
        raise ValueLegatoError(f"check_frames must be 1 or more, but is {check_frames}")
    if kernels not in KERNELS:
        raise ValueLegatoError(f"unknown kernels '{kernels}'; choose one of: {' '.join(KERNELS)}")
    if not 0 < check_limit < float("inf"):
        raise ValueLegatoError(
            f"check_limit must be a positive number of seconds, not {check_limit}"
        )


def _check_machine(target: Path, kind: str, device: str) -> None:
    if device not in DEVICES:
        raise ValueLegatoError(f"unknown device '{device}'; choose one of: {' '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise LegatoError(
            "--device cuda, but torch finds no CUDA device here; deploy on a machine with a GPU "
            "and a CUDA build of torch, or use --device cpu"
        )
    if target.is_dir():
        raise LegatoError(f"{target} is a folder; give a file name")
    if kind == "AOTInductor":
        export.check_compiler()


@contextmanager
def _scratch_beside(target: Path) -> Iterator[Path]:
    """Path for writing a file in the target's folder; it is removed unless it has been moved."""
    with scratch_folder(".nequip-deploy-", target.absolute().parent, _unwritable) as scratch:
        try:
            yield scratch / target.name
        except OSError as problem:
            raise LegatoError(
                f"{target} could not be written ({problem.strerror or problem}); nothing was left "
                "behind, make room or choose another folder"
            ) from problem


def _unwritable(folder: Path, problem: OSError) -> LegatoError:
    return LegatoError(
        f"cannot write to the folder {folder} ({problem.strerror}); make it, or choose another"
    )


def _references(
    model: torch.nn.Module, data: Frames, *, count: int, cutoffs: torch.Tensor
) -> list[Reference]:
    chosen = list(data.spread(count))
    if not chosen:
        raise LegatoError(
            f"no frame from {data.origin} has two atoms within the cutoff; give other frames with "
            "--frames FILE"
        )
    chosen.append(isolated_atoms(num_types=len(cutoffs), cutoffs=cutoffs))
    return [reference_of(model, frame) for frame in chosen]


def _remedy(kind: str, modifiers: Sequence[str], *, kernels: str) -> str:
    if modifiers:
        return f"leave out --modifiers {' '.join(modifiers)}"
    if kernels == "cpp":
        return "deploy with --kernels off, or to .nequip.pth (TorchScript) instead"
    if kernels:
        return "deploy with --kernels off"
    if kind == "AOTInductor":
        return "deploy to .nequip.pth (TorchScript) instead"
    return "please report this with the model's configuration"
