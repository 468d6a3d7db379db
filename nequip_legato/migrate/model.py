"""The model: Allegro 0.2 keys to ``allegro.model.AllegroModel``."""

from typing import Any

from nequip_legato.errors import LegatoError
from nequip_legato.migrate.old import OldConfig
from nequip_legato.migrate.scales import scales_and_shifts

__all__ = ["model_section"]

_BUILDERS = {
    "Allegro",
    "PerSpeciesRescale",
    "ForceOutput",
    "StressForceOutput",
    "RescaleEnergyEtc",
    "GlobalRescale",
    "initialize_from_state",
    "load_model_state",
}
_NONLINEARITIES = ("silu", "mish", "gelu", "tanh", None)


def model_section(
    old: OldConfig, *, types: list[str], forces: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """The ``training_module.model`` section and comments on its keys.

    Args:
        old: the old configuration.
        types: names of the atom types, in the old order.
        forces: whether the loss compares forces.

    Raises:
        LegatoError: if the old configuration describes no Allegro model.
    """
    builders = _builders(old)
    comments: dict[str, str] = {}
    two_body = _dimensions(old, "two_body_latent", needed=True)
    latent = _dimensions(old, "latent", needed=True)
    readout = _dimensions(old, "edge_eng", needed=False)
    _note_widths(old, two_body, latent)
    model: dict[str, Any] = {
        "_target_": "allegro.model.AllegroModel",
        "seed": old.integer("seed", default=0, why="the file has no seed"),
        "model_dtype": _dtype(old),
        "type_names": "${type_names}",
        "r_max": "${cutoff}",
        **_symmetry(old, comments),
        "num_layers": old.integer("num_layers", least=1, why="Allegro needs"),
        "num_scalar_features": latent[-1],
        "num_tensor_features": old.integer(
            "env_embed_multiplicity",
            "num_tensor_features",
            least=1,
            default=32,
            why="default of Allegro 0.2",
        ),
        "radial_chemical_embed": _radial_embedding(old),
        "radial_chemical_embed_dim": two_body[0] + two_body[0] % 2,
        **_mlp(old, "scalar_embed_mlp", "two_body_latent", two_body[:-1], default="silu"),
        **_mlp(old, "allegro_mlp", "latent", latent[:-1], default="silu"),
        **_mlp(old, "readout_mlp", "edge_eng", readout, default=None),
        "avg_num_neighbors": _neighbors(old),
        **scales_and_shifts(old, types=types, builders=builders, forces=forces),
    }
    comments["num_scalar_features"] = "width of the latent features: today the same everywhere"
    comments["radial_chemical_embed_dim"] = (
        f"two_body_latent_mlp_latent_dimensions: {two_body} becomes embedding, hidden layers of "
        "one width, and num_scalar_features"
    )
    if not {"ForceOutput", "StressForceOutput"} & set(builders):
        if forces:
            raise LegatoError(
                f"{old.name}: the loss compares forces, but model_builders has no ForceOutput"
            )
        model["do_derivatives"] = False
    return model, comments


def _note_widths(old: OldConfig, two_body: list[int], latent: list[int]) -> None:
    if two_body[-1] != latent[-1]:
        old.assumed.append(
            f"num_scalar_features: {latent[-1]} (the last of latent_mlp_latent_dimensions; today "
            f"the two-body part has the same width, it was {two_body[-1]})"
        )


def _radial_embedding(old: OldConfig) -> dict[str, Any]:
    why = "default of nequip 0.5"
    return {
        "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
        "num_bessels": old.integer(
            "num_basis", "BesselBasis_num_basis", least=1, default=8, why=why
        ),
        "bessel_trainable": old.switch("BesselBasis_trainable", default=True, why=why),
        "polynomial_cutoff_p": old.integer("PolynomialCutoff_p", least=2, default=6, why=why),
    }


def _builders(old: OldConfig) -> list[str]:
    builders = old.take("model_builders", default=[])
    if not isinstance(builders, list) or not all(isinstance(b, str) for b in builders):
        raise old.wrong(["model_builders"], builders, "a list of names")
    names = [builder.rsplit(".", 1)[-1] for builder in builders]
    if "Allegro" not in names:
        raise LegatoError(
            f"{old.name} is not for an Allegro model: model_builders has no allegro.model.Allegro; "
            "NequIP models are outside of Allegro-Legato (see nequip's own documentation)"
        )
    for name, full in zip(names, builders, strict=True):
        if name in ("initialize_from_state", "load_model_state"):
            old.drop_part(
                f"model_builders: {full}",
                "weights of nequip 0.5 do not fit today's Allegro; train again",
            )
        elif name not in _BUILDERS:
            reason = "unknown to this command; it is not part of the new model"
            if name.startswith("PairPotential"):
                reason = (
                    "left out; today it is the model's key pair_potential, for instance "
                    "_target_: nequip.nn.pair_potential.ZBL"
                )
            old.drop_part(f"model_builders: {full}", reason)
    return names


def _dtype(old: OldConfig) -> str:
    dtype = old.take("model_dtype", "default_dtype", default="float32", why="default of nequip 0.5")
    if dtype not in ("float32", "float64"):
        raise old.wrong(["model_dtype", "default_dtype"], dtype, "float32 or float64")
    return dtype


def _symmetry(old: OldConfig, comments: dict[str, str]) -> dict[str, Any]:
    if "l_max" not in old and "irreps_edge_sh" in old:
        raise LegatoError(
            f"{old.name} gives irreps_edge_sh; write l_max and parity instead of it, then migrate"
        )
    l_max = old.integer("l_max", why="Allegro needs")
    parity = old.take("parity", default="o3_full", why="the file has no parity")
    for key in ("irreps_edge_sh", "nonscalars_include_parity"):
        old.drop(key, "follows from l_max and parity")
    if parity in ("o3_full", True):
        return {"l_max": l_max, "parity": True}
    if parity in ("o3_restricted", False):
        return {"l_max": l_max, "parity": False}
    if parity != "so3":
        raise old.wrong(["parity"], parity, "o3_full, o3_restricted or so3")
    irreps = " + ".join(f"1x{degree}e" for degree in range(l_max + 1))
    comments["irreps_edge_sh"] = f"parity: so3 with l_max: {l_max}"
    return {
        "_target_": "allegro.model.allegro_models.FullAllegroModel",
        "irreps_edge_sh": irreps,
        "tensor_track_allowed_irreps": irreps,
    }


def _dimensions(old: OldConfig, which: str, *, needed: bool) -> list[int]:
    key = f"{which}_mlp_latent_dimensions"
    if not needed:
        return old.integers(key, default=[], why="the file has none: a linear layer")
    sizes = old.integers(key, why="Allegro 0.2 needs")
    if not sizes:
        raise old.wrong([key], sizes, "a list with at least one size")
    return sizes


def _mlp(
    old: OldConfig, new: str, which: str, hidden: list[int], *, default: str | None
) -> dict[str, Any]:
    """Depth, width and nonlinearity of one network; today all hidden layers have one width."""
    if len(set(hidden)) > 1:
        old.assumed.append(
            f"{new}_hidden_layers_width: {max(hidden)} (the widest of {which}'s hidden layers "
            f"{hidden}; today all are of one width)"
        )
    key = f"{which}_mlp_nonlinearity"
    nonlinearity = old.take(key, default=default)
    if nonlinearity not in _NONLINEARITIES:
        old.drop_part(
            f"{key}: {nonlinearity}", "today's networks have silu, mish, gelu and tanh; now silu"
        )
        nonlinearity = "silu"
    return {
        f"{new}_hidden_layers_depth": len(hidden),
        f"{new}_hidden_layers_width": max(hidden, default=1),
        f"{new}_nonlinearity": nonlinearity,
    }


def _neighbors(old: OldConfig) -> Any:
    value = old.take("avg_num_neighbors", default="auto", why="the file does not say")
    if value == "auto":
        return "${training_data_stats:num_neighbors_mean}"
    return old.number("avg_num_neighbors", default=None)
