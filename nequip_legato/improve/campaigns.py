"""The campaigns of a loop: what exploring and testing share, and what each of them changes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nequip_legato.stability.run import resolve
from nequip_legato.stability.run.schema import (
    OFF,
    as_settings,
    check_changes,
    placed,
    require,
    without,
)
from nequip_legato.stability.run.settings import Model, Settings, check

__all__ = ["PARTS", "Campaigns", "campaign_settings", "merged", "resolved_campaign", "with_models"]

PARTS = ("explore", "life")
_OURS = ("models", "output")  # settings of a campaign that the loop sets itself
_MODEL = "model"  # name of the model of a round in its campaigns
# Exploring continues where a test would have failed, to find more near-failures.
_EXPLORING = {"criteria": {"closest_ratio": 0.6, "bonds": []}, "restart_every": OFF}


@dataclass(frozen=True)
class Campaigns:
    """Both campaigns of a loop, complete but for the models and folders of the rounds.

    Attributes:
        explore: the runs that the model learns from.
        life: the runs that measure the time to failure.
    """

    explore: Settings
    life: Settings


def campaign_settings(
    campaign: Mapping[str, Any], changes: Mapping[str, Any], part: str
) -> Settings:
    """One of the campaigns, as the settings of a loop give it; files are not looked for.

    Args:
        campaign: what exploring and testing have in common.
        changes: changes of it for this part.
        part: ``explore`` or ``life``.

    Returns:
        The settings with a stand-in for the model.

    Raises:
        LegatoError: if there are unknown keys or impossible values.
    """
    for place, mapping in (("campaign", campaign), (part, changes)):
        ours = sorted(set(mapping) & set(_OURS))
        require(not ours, f"{place}: {' '.join(ours)} is set by the loop; remove it")
        check_changes(mapping, without(Settings, *_OURS), place)
    content = merged(campaign, _EXPLORING if part == "explore" else {})
    content = merged(content, changes)
    content["models"] = [{"name": _MODEL, "file": _MODEL}]
    with placed("", f" (in campaign or {part})"):
        settings = as_settings(content, Settings)
        check(settings)
    return settings


def resolved_campaign(settings: Settings, path: Path, *, stand_in: Path) -> Settings:
    """A copy with absolute paths and all defaults filled in, but for what differs between rounds.

    Args:
        settings: one of the campaigns.
        path: the YAML file of the loop, to which paths are relative.
        stand_in: any file in place of the model, which is not made yet.

    Raises:
        LegatoError: if a file does not exist, or if a symbol is not a chemical element.
    """
    (model,) = settings.models
    named = settings.equilibration.model
    done = resolve.resolved(replace(settings, models=(replace(model, file=str(stand_in)),)), path)
    ours = named in ("", _MODEL)  # not a file of the user's
    equilibration = replace(done.equilibration, model=named) if ours else done.equilibration
    return replace(done, equilibration=equilibration)


def with_models(settings: Settings, *, model: str, start: str, group: str) -> Settings:
    """A copy of a resolved campaign for one round.

    Args:
        settings: one of the campaigns.
        model: deployed file.
        start: deployed file for the equilibration, unless the settings name another one.
        group: what the models of this round are called in the results.
    """
    named = settings.equilibration.model
    file = {"": start, _MODEL: model}.get(named, named)
    return replace(
        settings,
        models=(Model(_MODEL, model, group, _MODEL),),
        equilibration=replace(settings.equilibration, model=file),
    )


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The old mapping updated with the new one; nested mappings are merged, too.

    One whose ``_target_`` is another takes the place of the old one, whose keywords it does not
    have.
    """
    result = dict(old)
    for key, value in new.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        target = result[key].get("_target_") if both else None
        same = both and value.get("_target_", target) == target
        result[key] = merged(result[key], value) if same else value
    return result
