"""Adding a fence to a model while it is deployed."""

from collections.abc import Sequence

import torch

from nequip_legato.deploy.check import Reference, reference_of
from nequip_legato.deploy.domain import Domain, domain_of
from nequip_legato.deploy.fence_reference import dimers_in_reach, fence_sums, with_fence
from nequip_legato.errors import LegatoError
from nequip_legato.fence.choice import choose_fence
from nequip_legato.fence.module import add_fence
from nequip_legato.fence.profile import Fence
from nequip_legato.fence.settings import FenceSettings
from nequip_legato.fence.survey import Survey
from nequip_legato.trained.dataset import Frames

__all__ = ["put_up_fence", "survey_domain"]


def survey_domain(frames: Frames, cutoffs: torch.Tensor) -> tuple[Domain, Survey]:
    """Domain and survey of all training frames, however many, in one pass.

    Args:
        frames: the training frames.
        cutoffs: (T, T) of each (center type, neighbor type), Angstrom.

    Raises:
        LegatoError: if there is only one frame, which says nothing about how distances vary.
    """
    if frames.total < 2:
        raise LegatoError(
            f"a fence needs the training frames, but there is only one structure ({frames.origin})"
            "; give them with --frames FILE, or deploy without --fence"
        )
    survey = Survey(cutoffs)
    domain = domain_of(survey.watching(frames.every()), num_types=len(cutoffs))
    return domain, survey


def put_up_fence(
    model: torch.nn.Module,
    survey: Survey,
    settings: FenceSettings,
    *,
    cutoffs: torch.Tensor,
    references: Sequence[Reference],
    entries: dict[str, str],
) -> list[Reference]:
    """Choose a fence and put it into a model and its metadata, in place.

    Args:
        model: eager model.
        survey: of all training frames.
        settings: how to choose.
        cutoffs: (T, T), Angstrom.
        references: what the model gives without the fence.
        entries: metadata of the file; the fence is added.

    Returns:
        What the model should give with the fence, and one more reference: pairs of atoms on which
        the fence acts.

    Raises:
        LegatoError: if the model cannot have a fence, or a training frame would feel it.
    """
    type_names = entries["type_names"].split()

    def largest() -> float:
        return max(float(r.sums.forces.norm(dim=1).max()) for r in references)

    fence = choose_fence(survey, settings, type_names=type_names, unlabeled_force=largest)
    if not fence.walls:
        raise LegatoError(
            "the training frames have no two atoms within the cutoff, so there is nothing to put a "
            "fence around; deploy without --fence"
        )
    _check_untouched(fence, references[:-1], type_names, cutoffs)
    dimers = reference_of(model, dimers_in_reach(fence, type_names, cutoffs))
    table = fence.table(type_names, cutoffs.tolist())
    add_fence(model, table, len(type_names))
    entries["legato_fence"] = fence.to_json()
    entries["legato_fence_table"] = " ".join(repr(x) for row in table for x in row)
    return [with_fence(r, fence, type_names, cutoffs) for r in [*references, dimers]]


def _check_untouched(
    fence: Fence, references: Sequence[Reference], type_names: list[str], cutoffs: torch.Tensor
) -> None:
    for reference in references:
        sums = fence_sums(fence, reference.frame, type_names, cutoffs)
        if bool((sums.energies != 0.0).any()) or bool((sums.forces != 0.0).any()):
            raise LegatoError("the fence acts on a training frame; please report this")
