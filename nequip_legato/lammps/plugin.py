"""The LAMMPS plugin for users: building it, information about it, removing it."""

from pathlib import Path

from nequip_legato.native import builder, cache

__all__ = ["build_plugin", "clean_plugin_cache", "plugin_info", "plugin_path"]


def plugin_path() -> Path:
    """The plugin for the installed LAMMPS and torch, built on first use.

    Raises:
        LegatoError: if it is not there and cannot be built.
    """
    return builder.ensure(builder.plugin())


def build_plugin() -> Path:
    """Build the plugin, even if it is there; returns its path.

    Raises:
        LegatoError: if it cannot be built.
    """
    return builder.ensure(builder.plugin(), force=True)


def plugin_info() -> dict[str, str]:
    """What the plugin is built from (or would be), and whether it has been built.

    Raises:
        LegatoError: if torch or LAMMPS is missing.
    """
    artifact = builder.plugin()
    record = artifact.info()
    return {
        "plugin": str(artifact.path),
        "built": "yes" if artifact.is_built else "no (it will be on first use)",
        "LAMMPS": artifact.settings["LEGATO_LAMMPS_VERSION"],
        "LAMMPS headers": artifact.settings["LEGATO_LAMMPS_INCLUDE"],
        "torch": artifact.settings["LEGATO_TORCH_VERSION"],
        "torch folder": artifact.settings["LEGATO_TORCH_DIR"],
        "compiler": record.get("compiler", "-"),
        "cache": str(cache.cache_folder()),
    }


def clean_plugin_cache() -> list[Path]:
    """Remove every build of plugin and binding; returns what was removed."""
    return cache.clean()
