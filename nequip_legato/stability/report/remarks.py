"""Notes about the runs as a whole that a reader needs before trusting a number."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from nequip_legato.stability.records import Record

__all__ = ["remarks"]


def remarks(records: Sequence[Record]) -> list[str]:
    """Notes about the runs of one protocol, one sentence each; may be empty."""
    return [
        note
        for note in (
            _average(records),
            _thresholds(records),
            _limits(records),
            _few_seeds(records),
            _shared_seeds(records),
            _immediate(records),
        )
        if note
    ]


def _average(records: Sequence[Record]) -> str:
    fired = Counter(r.criterion or "" for r in records if r.failed)
    total = sum(fired.values())
    share = sum(n for name, n in fired.items() if name.startswith("temperature"))
    if total == 0 or share < 0.5 * total:
        return ""
    return (
        f"{share} of {total} failures were detected by the temperature, an average over all atoms: "
        "it detects a failing atom later in a larger system, which biases the exponent upwards, "
        "and it fluctuates without any failure in a small one, which biases it too"
    )


def _thresholds(records: Sequence[Record]) -> str:
    found: dict[str, set[float]] = defaultdict(set)
    for record in records:
        if record.criterion and record.threshold is not None:
            found[record.criterion].add(record.threshold)
    mixed = {name: values for name, values in found.items() if len(values) > 1}
    if not mixed:
        return ""
    listed = "; ".join(
        f"{name}: {min(values):.6g} to {max(values):.6g}" for name, values in sorted(mixed.items())
    )
    return f"runs had different thresholds, which their times to failure depend on ({listed})"


def _limits(records: Sequence[Record]) -> str:
    found: dict[int, set[int]] = defaultdict(set)
    for record in records:
        found[record.atoms].add(record.step_limit)
    mixed = [atoms for atoms, limits in sorted(found.items()) if len(limits) > 1]
    if not mixed:
        return ""
    return (
        f"step limits differ between runs at {', '.join(f'{n:,}' for n in mixed)} atoms; every run "
        "is censored at its own, and restricted means go up to where all groups are known"
    )


def _few_seeds(records: Sequence[Record]) -> str:
    seeds: dict[str, set[str]] = defaultdict(set)
    for record in records:
        seeds[record.group].add(record.training_seed)
    few = [f"'{name}' has {len(own)}" for name, own in sorted(seeds.items()) if len(own) < 2]
    if not few:
        return ""
    return (
        f"fewer than two training seeds ({', '.join(few)}): intervals there are over velocity "
        "seeds only; they describe these models, not their kind of training"
    )


def _shared_seeds(records: Sequence[Record]) -> str:
    models: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        models[record.group, record.training_seed].add(record.model)
    shared = sorted(f"{g} {s}" for (g, s), own in models.items() if len(own) > 1)
    if not shared:
        return ""
    return (
        f"several models of one group share a training seed ({', '.join(shared)}) and are taken "
        "as one; give them different groups or training seeds if they are not"
    )


def _immediate(records: Sequence[Record]) -> str:
    count = sum(r.failed and r.steps == 0 for r in records)
    if not count:
        return ""
    return (
        f"{count} runs failed at step 0, before any dynamics; they count as half a step; check the "
        "start structure"
    )
