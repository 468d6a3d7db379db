"""The plain data of a checkpoint, read without running any code from it."""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

__all__ = ["plain_content"]


class _Anything:
    """Stands for every object that is not a plain dictionary, list, number or text."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "_Anything":
        return _Anything()

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    append = extend = add = __call__


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        return _Anything

    def persistent_load(self, _: Any) -> None:
        return None


def plain_content(path: str | Path) -> dict[str, Any] | None:
    """Dictionaries, numbers and texts of a checkpoint; tensors and objects are placeholders.

    Returns:
        None if there is no such file, or if torch has not written it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            found = _Plain(io.BytesIO(archive.read(names[0]))).load()
    except Exception:  # a damaged pickle can raise anything
        return None
    return found if isinstance(found, dict) else None
