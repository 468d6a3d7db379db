"""From an old configuration file to a new one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nequip_legato.errors import LegatoError
from nequip_legato.files import write_atomically
from nequip_legato.migrate.data import atom_types, data_section
from nequip_legato.migrate.emit import to_yaml
from nequip_legato.migrate.loss import errors_sections
from nequip_legato.migrate.model import model_section
from nequip_legato.migrate.old import OldConfig, read_old
from nequip_legato.migrate.training import module_section, trainer_section

__all__ = ["Migration", "migrate"]

_ALWAYS = "today's Allegro always does this"
_WITHOUT = {
    "append": "to continue a training, today: nequip-train ... ++ckpt_path=last.ckpt",
    "workdir": "the folder of a run is hydra.run.dir",
    "verbose": "today: hydra.verbose on the command line",
    "report_init_validation": "today: add val before train in the list run",
    "embed_initial_edge": _ALWAYS,
    "latent_resnet": "today's layers see the latents of all earlier ones instead",
    "latent_resnet_update_ratios": "today's layers have no residual update",
    "latent_resnet_update_ratios_learnable": "today's layers have no residual update",
    "linear_after_env_embed": "no counterpart in today's Allegro",
    "env_embed_mlp_latent_dimensions": "today a linear layer",
    "env_embed_mlp_nonlinearity": "today a linear layer",
    "two_body_latent_mlp_initialization": "today's initialization is fixed",
    "latent_mlp_initialization": "today's initialization is fixed",
    "env_embed_mlp_initialization": "today's initialization is fixed",
    "edge_eng_mlp_initialization": "today's initialization is fixed",
    "normalize_basis": "no counterpart in today's Bessel basis",
    "num_bases": "no counterpart in today's Bessel basis",
    "bessel_frequency_cutoff": "today the number of basis functions: num_bessels",
    "r_start_cos_ratio": "today's cutoff is polynomial: polynomial_cutoff_p",
    "cutoff_type": "today's cutoff is polynomial: polynomial_cutoff_p",
    "per_layer_cutoffs": "today cutoffs may differ by pairs of types: per_edge_type_cutoff",
    "sparse_mode": "no counterpart; for speed see nequip-compile",
    "typexbasis_mode": "today a product",
    "tensors_mixing_mode": "nearest today: tp_path_channel_coupling",
    "compile_model": "today: training_module.model.compile_mode",
    "model_debug_mode": "no counterpart",
    "equivariance_test": "no counterpart in nequip-train",
    "train_on_keys": "follows from the loss",
    "e3nn_optimization_defaults": "no counterpart",
    "pair_style": "today: the model's key pair_potential",
    "units": "today: the model's key pair_potential",
    "init_callbacks": "today: a Lightning callback in trainer.callbacks",
    "end_of_epoch_callbacks": "today: a Lightning callback in trainer.callbacks",
    "end_of_batch_callbacks": "today: a Lightning callback in trainer.callbacks",
    "end_of_train_callbacks": "today: a Lightning callback in trainer.callbacks",
    "final_callbacks": "today: a Lightning callback in trainer.callbacks",
    "global_rescale_shift_trainable": "today: the per-type shifts",
    "global_rescale_scale_trainable": "today: the per-type scales",
    "_jit_bailout_depth": "no counterpart",
    "_jit_fusion_strategy": "no counterpart",
    "nequip_version": "a record of the old run",
    "allegro_version": "a record of the old run",
    "e3nn_version": "a record of the old run",
    "torch_version": "a record of the old run",
    "code_commits": "a record of the old run",
    "load_model_state": "weights of nequip 0.5 do not fit today's Allegro; train again",
    "initialize_from_state": "weights of nequip 0.5 do not fit today's Allegro; train again",
    "non_trainable_names": "no counterpart",
    "include_file_as_baseline_config": "put the keys of that file into this one, then migrate",
}
_UNKNOWN = "unknown to this command; it was ignored"


@dataclass(frozen=True, kw_only=True)
class Migration:
    """A new configuration, and what became of each key of the old one.

    Attributes:
        config: the new configuration.
        text: the same as YAML with comments.
        used: the old keys that were used.
        without: old key, or part of one, that has no counterpart -> reason, or what replaces it.
        assumed: assumptions where the old file said nothing, and changes that were necessary.
    """

    config: dict[str, Any]
    text: str
    used: tuple[str, ...]
    without: dict[str, str]
    assumed: tuple[str, ...]


def migrate(old: Path, new: Path | None = None) -> Migration:
    """Turn a configuration of the original Allegro-Legato into one for today's ``nequip-train``.

    Every key of the old file is either in ``used`` or in ``without``.

    Args:
        old: configuration for nequip 0.5 and Allegro 0.2, with or without ``with_sam``.
        new: where to write the new one; must not exist.

    Raises:
        LegatoError: if the old file cannot be read or is not an Allegro configuration, if a
            value is invalid, or if ``new`` exists.
    """
    if new is not None and new.exists():
        raise LegatoError(f"{new} exists; give another name, or remove it first")
    done = _convert(read_old(old))
    if new is not None:
        try:
            write_atomically(new, done.text)
        except OSError as problem:
            raise LegatoError(f"cannot write {new}: {problem.strerror}") from problem
    return done


def _convert(old: OldConfig) -> Migration:
    types, symbols = atom_types(old)
    errors = errors_sections(old)
    forces = "forces" in errors.fields
    sources, data, data_comments = data_section(old, types=types, symbols=symbols, forces=forces)
    trainer, trainer_comments = trainer_section(old, errors=errors)
    model, model_comments = model_section(old, types=types, forces=forces)
    module, module_comments = module_section(old, errors=errors, model=model)
    config = {
        "hydra": {"run": {"dir": _folder(old)}},
        "run": ["train"],
        "cutoff": _cutoff(old),
        "type_names": types,
        **sources,
        "data": data,
        "trainer": trainer,
        "training_module": module,
        "global_options": {"allow_tf32": old.switch("allow_tf32", default=False)},
    }
    for key, reason in _WITHOUT.items():
        if key not in old.used:
            old.drop(key, reason)
    for key in old.keys():  # noqa: SIM118 (not a dict)
        if key not in old.used and key not in old.without:
            old.drop(key, _UNKNOWN)
    inside = {f"training_module.model.{key}": text for key, text in model_comments.items()}
    comments = {
        "hydra": "the folder of the run, before: root and run_name",
        "cutoff": "r_max, in the units of the data",
        **data_comments,
        **trainer_comments,
        **module_comments,
        **inside,
    }
    return Migration(
        config=config,
        text=_header(old) + to_yaml(config, comments),
        used=tuple(key for key in old.keys() if key in old.used),  # noqa: SIM118
        without=dict(old.without),
        assumed=tuple(old.assumed),
    )


def _folder(old: OldConfig) -> str:
    root = old.take("root", default="./")
    name = old.take("run_name", default="NequIP")
    if not isinstance(root, str) or not isinstance(name, (str, int, float)):
        raise old.wrong(["root", "run_name"], root, "a folder and a name")
    return str(Path(root) / str(name))


def _cutoff(old: OldConfig) -> float:
    cutoff = old.number("r_max", why="Allegro needs")
    if cutoff is None or not 0 < cutoff < float("inf"):
        raise old.wrong(["r_max"], cutoff, "a length above 0")
    return cutoff


def _header(old: OldConfig) -> str:
    lines = [
        f"Made by `nequip-legato migrate` from {old.name}. Train in the folder where the",
        "paths below begin, with NAME this file's name without .yaml:",
        "",
        "  nequip-train -cp $PWD -cn NAME",
    ]
    if old.without:
        lines += ["", "Without counterpart:"]
        lines += [f"- {key}: {reason}" for key, reason in old.without.items()]
    if old.assumed:
        lines += ["", "Assumed:", *(f"- {line}" for line in old.assumed)]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n"
