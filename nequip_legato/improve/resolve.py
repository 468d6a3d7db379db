"""From the YAML file of a loop to complete settings, and to the campaigns of its rounds."""

from dataclasses import fields, replace
from pathlib import Path

from nequip_legato.improve.campaigns import (
    PARTS,
    Campaigns,
    campaign_settings,
    resolved_campaign,
    with_models,
)
from nequip_legato.improve.settings import ImproveSettings, Loop, check
from nequip_legato.stability.run.schema import (
    existing_file,
    load_checked,
    local_path,
    placed,
    require,
)
from nequip_legato.stability.run.settings import Settings
from nequip_legato.stability.run.settings import check as check_campaign

__all__ = ["campaign_of", "load_improve_settings", "resolved"]

_DOCS = "docs/improve.md"
_SEEDS_PER_ROUND = 10_000


def load_improve_settings(path: Path) -> Loop:
    """Read, check and resolve the YAML file of a loop.

    Raises:
        LegatoError: if the file is missing, is not YAML, has unknown keys or impossible values.
    """
    what = f"the YAML file of a loop ({_DOCS})"
    settings = load_checked(path, ImproveSettings, check, docs=_DOCS, what=what)
    with placed(str(path)):
        return resolved(settings, path)


def resolved(settings: ImproveSettings, path: Path) -> Loop:
    """The loop with absolute paths and complete campaigns.

    Args:
        settings: the loop's.
        path: its YAML file, to which paths are relative.

    Raises:
        LegatoError: if a file does not exist, or the rounds need seeds that LAMMPS does not take.
    """
    base = path.absolute().parent

    def found(file: str, key: str) -> str:
        return str(existing_file(base / local_path(file), key))

    checkpoint = found(settings.checkpoint, "checkpoint")
    test_frames = settings.test_frames and found(settings.test_frames, "test_frames")
    committee = tuple(found(file, "observe: committee") for file in settings.observe.committee)
    campaigns = [_resolved_part(settings, part, path, stand_in=Path(checkpoint)) for part in PARTS]
    own = {one.name: getattr(settings, one.name) for one in fields(settings)}
    changed = {
        "checkpoint": checkpoint,
        "output": str(base / (local_path(settings.output) or path.stem)),
        "test_frames": test_frames,
        "observe": replace(settings.observe, committee=committee),
    }
    loop = Loop(**own | changed, campaigns=Campaigns(*campaigns))
    _check_seeds(loop)
    return loop


def campaign_of(
    loop: Loop, part: str, *, model: str, start: str, number: int, output: str = ""
) -> Settings:
    """The campaign in which a round explores, or in which its time to failure is measured.

    Args:
        loop: the loop.
        part: ``explore`` or ``life``.
        model: deployed file.
        start: deployed file for the equilibration, the same in all rounds unless the settings name
            another one, so that all rounds start from the same positions.
        number: number of the round. Exploring uses new velocity seeds in each round; the time to
            failure is always measured with the same seeds, which exploring never uses.
        output: folder of the campaign.
    """
    settings = with_models(
        getattr(loop.campaigns, part), model=model, start=start, group=f"round {number}"
    )
    if part == "explore" and "first_velocity_seed" not in loop.explore:
        settings = replace(settings, first_velocity_seed=_SEEDS_PER_ROUND * number + 1)
    return replace(settings, output=output)


def _resolved_part(settings: ImproveSettings, part: str, path: Path, *, stand_in: Path) -> Settings:
    given = campaign_settings(settings.campaign, getattr(settings, part), part)
    with placed("", f" (in campaign or {part})"):
        return resolved_campaign(given, path, stand_in=stand_in)


def _check_seeds(loop: Loop) -> None:
    """The last round has the largest seeds; no run that is explored may measure the life, too."""
    last = campaign_of(loop, "explore", model="", start="", number=loop.rounds)
    with placed("rounds"):
        check_campaign(last)
    life = _seeds(campaign_of(loop, "life", model="", start="", number=0))
    for number in range(1, loop.rounds + 1):
        seeds = _seeds(campaign_of(loop, "explore", model="", start="", number=number))
        require(
            seeds[-1] < life[0] or life[-1] < seeds[0],
            f"life: velocity seeds {life[0]} to {life[-1]} are among those that round {number} "
            f"explores, {seeds[0]} to {seeds[-1]}; set first_velocity_seed in life",
        )


def _seeds(campaign: Settings) -> range:
    count = max(size.velocity_seeds or campaign.velocity_seeds for size in campaign.sizes)
    return range(campaign.first_velocity_seed, campaign.first_velocity_seed + count)
