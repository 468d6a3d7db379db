"""The stages of a round: each is done once, even after interrupts."""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from ase import Atoms
from nequip.data import AtomicDataDict, from_ase

from nequip_legato.calculator import LegatoCalculator
from nequip_legato.deploy import build, info
from nequip_legato.errors import LegatoError
from nequip_legato.fence.settings import FenceSettings
from nequip_legato.files import write_atomically
from nequip_legato.improve.choose import choose
from nequip_legato.improve.exchange import RETURNED, WANTED, read_labels, write_wanted
from nequip_legato.improve.explore import exploring
from nequip_legato.improve.gather import Known, gather
from nequip_legato.improve.knowledge import Errors, Origin, errors_of, write_original_frames
from nequip_legato.improve.labeling import label_structures
from nequip_legato.improve.labels import BAD, LabelStore
from nequip_legato.improve.rounds import (
    Round,
    Show,
    bonds_of,
    label_store,
    largest_force,
    new_frames,
)
from nequip_legato.improve.settings import FILES, ImproveSettings
from nequip_legato.improve.structures import cut, id_of, read_structures, write_structures
from nequip_legato.improve.training import fine_tune, steps_of, training_config, with_training_keys
from nequip_legato.stability.records import Record, read_records
from nequip_legato.stability.run.campaign import run_campaign, run_kind
from nequip_legato.stability.run.processes import Processes
from nequip_legato.stability.run.status import Status

__all__ = [
    "choose_structures",
    "deploy_model",
    "explore",
    "label",
    "measure_errors",
    "measure_life",
    "train",
]

_ROBUST_FACTOR = 4.0


def deploy_model(round_: Round, origin: Origin, show: Show) -> Path:
    """Deploy a round's model with the fence that the settings ask for.

    With ``fence: {frames: original}`` fence and domain come from the original training frames, so
    that they are the same in all rounds.

    Returns:
        The deployed file.
    """
    path = round_.model
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    fence = round_.settings.fence
    frames = None
    if fence.frames == "original":
        frames = Path(round_.settings.output) / "original.extxyz"
        if not frames.is_file():
            write_original_frames(origin, frames)
    fence_settings = None
    if fence.kind != "none":
        fence_settings = FenceSettings(
            kind=fence.kind, temperature=fence.temperature, stiffness=fence.stiffness
        )
    build(
        round_.checkpoint,
        path,
        frames=frames,
        fence=fence_settings,
        report=lambda line: show.report(f"round {round_.number}: {line}"),
    )
    return path


def measure_errors(round_: Round, origin: Origin) -> Errors:
    """Errors of a round's model on the old test set; also on the frames that the round added."""
    if not round_.errors.is_file():
        content = {"test": asdict(errors_of(round_.checkpoint, origin.test, origin))}
        new = new_frames(round_) if round_.number else []
        if new:
            for name, owner in (("added_before", round_.before), ("added_after", round_)):
                content[name] = asdict(errors_of(owner.checkpoint, new, origin, keys={}))
        write_atomically(round_.errors, json.dumps(content, indent=1) + "\n")
    return Errors(**json.loads(round_.errors.read_text(encoding="utf-8"))["test"])


def measure_life(round_: Round, show: Show) -> list[Record]:
    """Run the campaign in which a round's time to failure is measured.

    Returns:
        Its records, those of one group ``round N``.

    Raises:
        LegatoError: if runs were killed from outside; the same command continues them.
    """
    campaign = round_.campaign("life")
    status = run_campaign(campaign, watch=show.watch, report=show.report)
    _check_complete(status)
    return read_records(Path(campaign.output))


def explore(round_: Round, show: Show) -> list[Record]:
    """Run the campaign that a round learns from, with the model of the round before.

    Returns:
        Its records.

    Raises:
        LegatoError: if runs were killed from outside; the same command continues them.
    """
    campaign = round_.campaign("explore")
    kind = exploring(round_.settings.observe, bonds_of(round_))
    status = run_kind(kind, campaign, watch=show.watch, report=show.report)
    _check_complete(status)
    return read_records(Path(campaign.output))


def choose_structures(
    round_: Round, records: Sequence[Record], origin: Origin, show: Show
) -> list[Atoms]:
    """Gather the candidates of a round's exploration, cut them, and choose those that differ most.

    Returns:
        At most ``choose.number`` structures; none if nothing suspicious was seen. Structures that
        earlier rounds have chosen are not chosen again.
    """
    if round_.chosen.is_file():
        return read_structures(round_.chosen, "chosen")
    settings, campaign = round_.settings, round_.campaign("explore")
    model, bonds = info(round_.before.model), bonds_of(round_)
    names = dict(zip(campaign.symbols, campaign.types, strict=True))
    files = [str(round_.before.model), *settings.observe.committee]
    committee = [LegatoCalculator(f, type_names=names) for f in files] if len(files) > 1 else []
    found = gather(
        Path(campaign.output),
        records,
        campaign,
        known=Known.of(model, list(campaign.types)),
        observe=settings.observe,
        bonds=bonds,
        committee=committee,
    )
    found.sort(key=lambda c: (not c.failed, c.reason, -c.severity))
    structures = []
    for candidate in found:
        atoms = cut(candidate.atoms, settings.choose, cutoff=model.cutoff, bonds=bonds)
        atoms.info = {
            "reason": candidate.reason,
            "severity": candidate.severity,
            "run": candidate.run,
            "step": candidate.step,
        }
        structures.append(atoms)
    earlier = [Round(n, settings).chosen for n in range(1, round_.number)]
    known = [atoms for path in earlier for atoms in read_structures(path, "chosen")]
    places = choose(structures, number=settings.choose.number, cutoff=model.cutoff, known=known)
    chosen = [structures[k] for k in places]
    counts = dict(Counter(c.reason for c in found).most_common())
    content = {"candidates": counts, "chosen": dict(Counter(a.info["reason"] for a in chosen))}
    write_atomically(round_.gathered, json.dumps(content, indent=1) + "\n")
    if chosen:
        write_structures(round_.chosen, chosen)
    show.report(f"round {round_.number}: {len(found)} candidates, {len(chosen)} chosen")
    return chosen


def label(round_: Round, chosen: Sequence[Atoms], origin: Origin, show: Show) -> bool:
    """Label the structures of a round, or write them to a file and read labels.

    Before the first label is used, the calculator is compared with the label of a test frame.

    Returns:
        Whether all have a label, good or bad; with ``labels: files``, False until they are there.

    Raises:
        LegatoError: if the calculator does not agree with the training labels.
    """
    settings = round_.settings
    store = label_store(settings)
    limit = largest_force(settings)
    reference = origin.test[:1] if settings.checks.reference else []
    wanted = [*reference, *chosen]
    if settings.labels == FILES:
        read_labels(round_.folder, wanted, store, largest_force=limit)
        missing = write_wanted(round_.folder, wanted, store)
        if missing:
            show.report(
                f"{missing} structures wait for labels: label {round_.folder / WANTED}, write the "
                f"result (energy, forces, stress) to {round_.folder / RETURNED}, and run the same "
                "command again"
            )
            return False
    for part in (reference, chosen):  # the reference first, to find a wrong calculator at once
        if settings.labels != FILES:
            label_structures(
                part,
                settings.labels,
                store,
                largest_force=limit,
                jobs=settings.jobs,
                report=lambda line: show.report(f"round {round_.number}: {line}"),
            )
        if reference:
            _check_reference(reference[0], origin, store, settings)
    return True


def train(round_: Round, origin: Origin, show: Show) -> Path | None:
    """Fine-tune the model of the round before on old and added frames.

    Returns:
        The checkpoint; None if no label is good, so that there is nothing to learn from.
    """
    if round_.checkpoint.is_file():
        return round_.checkpoint
    settings = round_.settings
    if not new_frames(round_):
        return None
    rounds = [Round(n, settings) for n in range(1, round_.number + 1)]
    frames = [atoms for r in rounds for atoms in new_frames(r)]
    write_structures(round_.added, with_training_keys(frames, origin.keys))
    delta, energy_delta = _limits_of_squares(round_, origin)
    n_old = info(Round(0, settings).model).domain_frames
    folder = round_.folder / "training"
    config = training_config(
        folder,
        origin,
        checkpoint=round_.before.checkpoint,
        added=round_.added,
        n_old=n_old,
        n_added=len(frames),
        settings=settings.training,
        delta=delta,
        energy_delta=energy_delta,
        partial_stress=any(_lacks_stress(atoms) for atoms in frames),
    )
    steps = steps_of(config, frames=n_old + settings.training.copies * len(frames))
    show.report(
        f"round {round_.number}: training on {n_old} old and {len(frames)} added frames for "
        f"{steps} steps"
    )
    started = time.monotonic()
    best = fine_tune(folder, config, Processes(), threads=settings.training.threads)
    content = {
        "old": n_old,
        "added": len(frames),
        "epochs": config["trainer"]["max_epochs"],
        "steps": steps,
        "huber": delta,
        "huber_energy": energy_delta,
        "seconds": round(time.monotonic() - started, 1),
    }
    write_atomically(round_.trained, json.dumps(content, indent=1) + "\n")
    os.replace(best, round_.checkpoint)
    return round_.checkpoint


def _limits_of_squares(round_: Round, origin: Origin) -> tuple[float, float]:
    """Errors of forces (eV/Angstrom) and energies (eV per atom) above which the loss is linear.

    Both are the same multiple of the initial model's errors on the test frames.
    """
    robust = round_.settings.training.robust
    if robust == 0:
        return 0.0, 0.0
    test = measure_errors(Round(0, round_.settings), origin)
    factor = _ROBUST_FACTOR if robust is None else robust / test.force_rmse
    return factor * test.force_rmse, factor * (test.energy_rmse or 0.0)


def _lacks_stress(atoms: Atoms) -> bool:
    stress = atoms.calc.results["stress"]
    return bool((stress != stress).any())


def _check_reference(
    frame: Atoms, origin: Origin, store: LabelStore, settings: ImproveSettings
) -> None:
    label, checks = store[id_of(frame)], settings.checks
    remedy = "make it the one of the training data, or set checks: {reference: false}"
    if label.status == BAD:
        raise LegatoError(f"the calculator fails on a test frame ({label.reason}); {remedy}")
    data = from_ase(frame, **origin.keys)
    energy = data.get(AtomicDataDict.TOTAL_ENERGY_KEY)
    forces = data.get(AtomicDataDict.FORCE_KEY)
    differences = []
    if energy is not None and label.energy is not None:
        value = abs(float(energy.reshape(-1)[0]) - label.energy) / len(frame)
        differences.append((value, checks.per_atom_energy_tolerance, "eV per atom"))
    if forces is not None:
        value = float(np.abs(forces.numpy() - np.array(label.forces)).max())
        differences.append((value, checks.force_tolerance, "eV/Angstrom"))
    for value, tolerance, unit in differences:
        if not value <= tolerance:
            raise LegatoError(
                f"the calculator differs by {value:.4f} {unit} from the label of a test frame, "
                f"more than {tolerance:g}: it is not the one of the training data; {remedy}"
            )


def _check_complete(status: Status) -> None:
    if status.interrupted:
        raise LegatoError(
            f"{len(status.interrupted)} runs were killed from outside ({status.interrupted[0]}); "
            "the same command continues them"
        )
