"""The core's Python binding, compiled on first use."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from nequip_legato.errors import LegatoError
from nequip_legato.native import builder

__all__ = ["load_binding", "load_compiled"]

_NAME = "legato_core"


def load_binding() -> ModuleType:
    """The module ``legato_core`` with the class ``Engine``, the one that LAMMPS runs.

    Raises:
        LegatoError: if it cannot be built or loaded.
    """
    import torch  # noqa: F401  (loads the libraries that the binding is linked against)

    if _NAME in sys.modules:
        return sys.modules[_NAME]
    return load_compiled(builder.ensure(builder.binding()))


def load_compiled(path: Path) -> ModuleType:
    """The same from the compiled library, without the Python code of torch, as in LAMMPS.

    Raises:
        LegatoError: if it cannot be loaded.
    """
    spec = importlib.util.spec_from_file_location(_NAME, path)
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as problem:
        raise LegatoError(
            f"the compiled core {path} cannot be loaded ({problem}); remove it with "
            "'nequip-legato plugin clean' and try again"
        ) from problem
    sys.modules[_NAME] = module
    return module
