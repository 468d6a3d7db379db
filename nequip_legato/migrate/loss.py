"""Loss and reported errors: ``loss_coeffs`` and ``metrics_components``."""

import re
from dataclasses import dataclass
from typing import Any

from nequip_legato.migrate.old import OldConfig

__all__ = ["Errors", "errors_sections"]

_ERRORS = {
    "mse": "nequip.train.MeanSquaredError",
    "mae": "nequip.train.MeanAbsoluteError",
    "rmse": "nequip.train.RootMeanSquaredError",
}
_LOSSES = {"mseloss": "mse", "l1loss": "mae"}
_FIELDS = ("total_energy", "forces", "stress")
_SHORT = {"f": "forces", "e": "total_energy", "e/n": "per_atom_energy", "stress": "stress"}


@dataclass(frozen=True, kw_only=True)
class _Term:
    """One error of one field."""

    field: str
    error: str
    per_atom: bool = False
    per_type: bool = False
    ignore_nan: bool = False

    @property
    def name(self) -> str:
        field = "per_atom_energy" if self.per_atom else self.field
        return f"per_type_{field}_{self.error}" if self.per_type else f"{field}_{self.error}"

    def entry(self, coefficient: float | None) -> dict[str, Any]:
        field: Any = self.field
        if self.per_atom:
            field = {"_target_": "nequip.data.PerAtomModifier", "field": self.field}
        entry: dict[str, Any] = {"name": self.name, "field": field}
        if self.per_type:
            entry["per_type"] = True
        if self.ignore_nan:
            entry["ignore_nan"] = True
        if coefficient is not None:
            entry["coeff"] = coefficient
        return {**entry, "metric": {"_target_": _ERRORS[self.error]}}


@dataclass(frozen=True, kw_only=True)
class Errors:
    """The sections ``loss`` and ``val_metrics``, and what the loss compares.

    Attributes:
        loss: section ``training_module.loss``.
        metrics: section ``training_module.val_metrics``; its ``weighted_sum`` is the loss.
        names: names of the single errors among the metrics.
        fields: the fields that the loss compares.
    """

    loss: dict[str, Any]
    metrics: dict[str, Any]
    names: tuple[str, ...]
    fields: tuple[str, ...]

    def monitor(self, key: str) -> str | None:
        """Today's name of a logged metric such as ``validation_f_mae``; None if there is none."""
        found = re.fullmatch(r"(validation|training)_(.+)", key.lower())
        if found is None:
            return None
        prefix = "val0_epoch" if found[1] == "validation" else "train_loss_epoch"
        if found[2] == "loss":
            return f"{prefix}/weighted_sum"
        field, _, error = found[2].removeprefix("all_").rpartition("_")
        name = f"{_SHORT.get(field)}_{error}"
        return f"{prefix}/{name}" if prefix == "val0_epoch" and name in self.names else None


def errors_sections(old: OldConfig) -> Errors:
    """Loss and validation metrics, whose weighted sum is again the loss.

    Raises:
        LegatoError: for a loss that cannot be made of nequip 0.19's errors.
    """
    terms = _loss_terms(old)
    reported = _components(old, terms)
    entries = [term.entry(weight) for term, weight in terms.items()]
    names = [term.name for term in terms]
    for term in reported:
        if term.name not in names:
            names.append(term.name)
            entries.append(term.entry(None))
    return Errors(
        loss=_loss(terms),
        metrics={"_target_": "nequip.train.MetricsManager", "metrics": entries},
        names=tuple(names),
        fields=tuple(dict.fromkeys(term.field for term in terms)),
    )


def _loss_terms(old: OldConfig) -> dict[_Term, float]:
    coefficients = old.take("loss_coeffs", default="total_energy", why="default of nequip 0.5")
    if isinstance(coefficients, str):
        coefficients = {coefficients: 1.0}
    if isinstance(coefficients, list):
        coefficients = dict.fromkeys(map(str, coefficients), 1.0)
    if not isinstance(coefficients, dict) or not coefficients:
        raise old.wrong(["loss_coeffs"], coefficients, "a mapping of fields to weights")
    terms: dict[_Term, float] = {}
    for field, value in coefficients.items():
        if field not in _FIELDS:
            old.drop_part(f"loss_coeffs.{field}", f"the new loss has {', '.join(_FIELDS)}")
            continue
        weight, function, options = _parts(old, field, value)
        terms[_term(old, field, function, options)] = weight
    if not terms or sum(terms.values()) <= 0:
        raise old.wrong(
            ["loss_coeffs"], coefficients, "a loss with a positive weight on energy or forces"
        )
    return terms


def _parts(old: OldConfig, field: str, value: Any) -> tuple[float, str, dict[str, Any]]:
    """Weight, name of the function and its options, which come in any order."""
    weight, function, options = 1.0, "MSELoss", {}
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, bool) or part is None:
            raise old.wrong(["loss_coeffs"], {field: value}, "a weight, a loss, or both")
        if isinstance(part, (int, float)):
            weight = float(part)
        elif isinstance(part, dict):
            options = part
        else:
            function = str(part)
    return weight, function, options


def _term(old: OldConfig, field: str, function: str, options: dict[str, Any]) -> _Term:
    words = function.rsplit(".", 1)[-1].lower()
    per_type = words.startswith("perspecies")
    per_atom = words.startswith("peratom")
    error = _LOSSES.get(words.removeprefix("perspecies").removeprefix("peratom"))
    if error is None:
        old.drop_part(f"loss_coeffs.{field}: {function}", "not a loss of nequip 0.19; now MSELoss")
        error = "mse"
    for key in options:
        if key != "ignore_nan":
            old.drop_part(f"loss_coeffs.{field}: {key}", "not an option of today's loss")
    return _Term(
        field=field,
        error=error,
        per_atom=per_atom and field == "total_energy",
        per_type=per_type and field == "forces",
        ignore_nan=bool(options.get("ignore_nan", False)),
    )


def _loss(terms: dict[_Term, float]) -> dict[str, Any]:
    """One of nequip's ready-made losses if it is the same, else its parts."""
    fields = {term.field: term for term in terms}
    plain = all(t.error == "mse" and not t.per_type and not t.ignore_nan for t in terms)
    ready = {
        ("forces", "total_energy"): "EnergyForceLoss",
        ("forces", "stress", "total_energy"): "EnergyForceStressLoss",
    }
    name = ready.get(tuple(sorted(fields)))
    if plain and name:
        return {
            "_target_": f"nequip.train.{name}",
            "per_atom_energy": fields["total_energy"].per_atom,
            "coeffs": {term.field: weight for term, weight in terms.items()},
        }
    entries = [term.entry(weight) for term, weight in terms.items()]
    return {"_target_": "nequip.train.MetricsManager", "metrics": entries}


def _components(old: OldConfig, terms: dict[_Term, float]) -> list[_Term]:
    components = old.take("metrics_components", default=None)
    if components is None:  # nequip 0.5: both errors of everything in the loss
        return [
            _Term(field=t.field, error=error, per_atom=t.per_atom)
            for t in terms
            for error in ("mae", "rmse")
        ]
    if not isinstance(components, list):
        raise old.wrong(["metrics_components"], components, "a list")
    found = []
    for item in components:
        parts = item if isinstance(item, list) else [item]
        words = [str(p) for p in parts if not isinstance(p, dict)]
        options: dict[str, Any] = next((p for p in parts if isinstance(p, dict)), {})
        label = f"metrics_components: [{', '.join(words)}]"
        if len(words) != 2 or words[0] not in _FIELDS or words[1] not in _ERRORS:
            old.drop_part(
                label, "nequip 0.19 reports mae, mse and rmse of total_energy, forces, stress"
            )
            continue
        if options.get("report_per_component"):
            old.drop_part(f"{label}: report_per_component", "today one number for all components")
        found.append(
            _Term(
                field=words[0],
                error=words[1],
                per_atom=bool(options.get("PerAtom")) and words[0] == "total_energy",
                per_type=bool(options.get("PerSpecies")) and words[0] == "forces",
            )
        )
    labeled = {term.field for term in terms}
    for term in found:
        if term.field == "stress" and "stress" not in labeled:
            old.drop_part(f"metrics_components: {term.name}", "left out: the loss has no stress")
    return [t for t in found if t.field != "stress" or "stress" in labeled]
