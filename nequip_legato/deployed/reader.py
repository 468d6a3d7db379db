"""Reading the metadata of a deployed file; needs no torch."""

import json
import math
import struct
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nequip_legato.deployed.elf import needs_executable_stack
from nequip_legato.deployed.history import rows as history_rows
from nequip_legato.errors import LegatoError
from nequip_legato.fence.profile import Fence

__all__ = ["FORMAT", "SUFFIXES", "ModelInfo", "info", "read_entries"]

FORMAT = "1"
SUFFIXES = {".nequip.pth": "TorchScript", ".nequip.pt2": "AOTInductor"}
INPUTS = "pos edge_index atom_types edge_vectors"
OUTPUTS = "atomic_energy edge_forces"

# What zipfile, struct and json raise on damaged files; unknown compression is a RuntimeError.
DAMAGE = (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, struct.error, zlib.error)

_CONVERT = (
    "pair_style allegro_legato takes edge vectors; deploy the checkpoint or package that the file "
    "came from: nequip-deploy build CHECKPOINT {path}"
)


@dataclass(frozen=True)
class ModelInfo:
    """The metadata of a deployed file.

    Attributes:
        path: the file.
        size: in bytes.
        kind: ``TorchScript`` or ``AOTInductor``.
        legato_format: format of the metadata; None for files that nequip-deploy did not make.
        usable: whether ``pair_style allegro_legato`` runs it.
        remark: one line on what to do about it; empty if there is nothing to do.
        type_names: the model's atom types.
        cutoff: largest cutoff, Angstrom.
        cutoffs: [center type][neighbor type] in Angstrom.
        dtype: ``float32`` or ``float64``, of the weights; inputs and outputs are float64.
        device: ``cpu`` or ``cuda``; an AOTInductor file runs nowhere else.
        cpu: instruction set that an AOTInductor file was compiled for.
        units: ``metal``: eV and Angstrom.
        shortest_distance: [type][type] shortest distance in the training frames, Angstrom; inf if
            the pair never came within the cutoff.
        largest_force: largest force label in the training frames, eV/A; nan if unknown.
        isolated_energy: energy of an isolated atom of each type, eV; empty for files of earlier
            versions.
        domain_frames: number of frames that the domain was taken from.
        domain_origin: where these frames came from.
        training: settings of the callback, SAM or a relative; empty for plain training.
        history: what the training did according to its checkpoint, whatever the settings say;
            see docs/deploy.md. Empty for files of earlier versions.
        fence: the fence; None without one.
        versions: of the packages that made the file.
        entries: all metadata as stored.
    """

    path: str
    size: int
    kind: str
    legato_format: str | None
    usable: bool
    remark: str
    type_names: list[str]
    cutoff: float
    cutoffs: list[list[float]]
    dtype: str
    device: str
    cpu: str
    units: str
    shortest_distance: list[list[float]]
    largest_force: float
    isolated_energy: list[float]
    domain_frames: int
    domain_origin: str
    training: dict[str, Any]
    history: dict[str, Any]
    fence: Fence | None
    versions: dict[str, str]
    entries: dict[str, str]

    def to_json(self) -> str:
        """Everything but ``entries`` as JSON; NaN and infinities become null."""
        content = asdict(self)
        del content["entries"]
        return json.dumps(_finite(content), indent=2, allow_nan=False)

    def __str__(self) -> str:
        kernels = ", with our own kernels" if self.entries.get("legato_kernels") else ""
        rows = {
            "file": f"{self.path} ({self.size / 1e6:.2f} MB, {self.kind})",
            "runs in": "pair_style allegro_legato" if self.usable else "other programs only",
            "atom types": " ".join(self.type_names),
            "cutoff": f"{self.cutoff:g} Angstrom",
            "precision": self.dtype,
            "device": self.device + (f" ({self.cpu})" if self.cpu else "") + kernels,
        }
        if len({value for row in self.cutoffs for value in row}) > 1:
            rows["cutoffs by type"] = self._pairs(self.cutoffs, ordered=True)
        if self.legato_format:
            rows["units"] = f"{self.units} (eV, Angstrom)"
            rows["shortest distances"] = self._pairs(self.shortest_distance) + " Angstrom"
            rows["largest force"] = f"{self.largest_force:.4g} eV/Angstrom"
            alone = zip(self.type_names, self.isolated_energy, strict=False)
            energies = " ".join(f"{name} {energy:.8g}" for name, energy in alone)
            rows["isolated atoms"] = f"{energies} eV" if energies else "unknown"
            origin = f" of {self.domain_origin}" if self.domain_origin else ""
            rows["domain taken from"] = f"{self.domain_frames} frames{origin}"
            rows |= self.fence.described() if self.fence else {"fence": "none"}
            rows |= dict(history_rows(self.history, self.training))
            rows["made by"] = " ".join(f"{name} {v}" for name, v in self.versions.items())
        if self.entries.get("legato_unchecked"):
            rows["checked"] = "no: made with --unchecked"
        if self.remark:
            rows["note"] = self.remark
        width = max(map(len, rows)) + 2
        return "\n".join(f"{name + ':':<{width}}{value}" for name, value in rows.items())

    def _pairs(self, matrix: list[list[float]], *, ordered: bool = False) -> str:
        shown = []
        for i, first in enumerate(self.type_names):
            for j, second in enumerate(self.type_names):
                if ordered or j >= i:
                    value = matrix[i][j]
                    seen = f"{value:.3f}" if math.isfinite(value) else "never seen"
                    shown.append(f"{first}-{second} {seen}")
        return ", ".join(shown)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_entries(path: Path) -> dict[str, str]:
    """All metadata of a deployed file as stored, without loading the model.

    Raises:
        LegatoError: if the file is missing, damaged, or not a deployed model.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, str], bool]:
    kind = kind_of(path)
    if not path.is_file():
        raise LegatoError(f"{path} does not exist; make it with 'nequip-deploy build'")
    try:
        with zipfile.ZipFile(path) as archive:
            if kind == "TorchScript":
                return _torchscript_entries(archive), False
            libraries = [n for n in archive.namelist() if n.endswith(".so")]
            bad = any(needs_executable_stack(archive.read(name)) for name in libraries)
            return _aotinductor_entries(archive), bad
    except DAMAGE as problem:
        raise LegatoError(
            f"{path} is not a deployed model, or it is damaged or incomplete ({problem}); deploy "
            "it again with 'nequip-deploy build'"
        ) from problem


def _torchscript_entries(archive: zipfile.ZipFile) -> dict[str, str]:
    entries = {}
    for name in archive.namelist():
        folder, found, key = name.partition("/extra/")
        if found and "/" not in folder:
            entries[key] = archive.read(name).decode("utf-8")
    return entries


def _aotinductor_entries(archive: zipfile.ZipFile) -> dict[str, str]:
    names = [n for n in archive.namelist() if "/data/aotinductor/model/" in n]
    stored = [n for n in names if n.endswith("_metadata.json")]
    # newer torch compiles kernels apart from their wrapper and repeats the metadata
    stored.sort(key=lambda name: "wrapper" not in name)
    return json.loads(archive.read(stored[0])) if stored else {}


def kind_of(path: Path) -> str:
    """``TorchScript`` or ``AOTInductor``, by the end of a file's name.

    Raises:
        LegatoError: for any other ending.
    """
    for suffix, kind in SUFFIXES.items():
        if path.name.endswith(suffix) and path.name != suffix:
            return kind
    raise LegatoError(f"{path} must end in .nequip.pth (TorchScript) or .nequip.pt2 (AOTInductor)")


def info(path: str | Path) -> ModelInfo:
    """Read the metadata of a deployed file; the model is not loaded.

    Args:
        path: a file of ``nequip-deploy`` or ``nequip-compile``.

    Raises:
        LegatoError: if the file is missing, damaged, or not a deployed model.
    """
    path = Path(path)
    entries, bad_stack = _read(path)
    if not entries.get("type_names") or "r_max" not in entries:
        raise LegatoError(
            f"{path} is not a deployed nequip model (it names no atom types); make one with "
            "'nequip-deploy build'"
        )
    try:
        return _parse(path, entries, bad_stack)
    except (ValueError, LookupError, AttributeError, TypeError) as problem:
        raise LegatoError(
            f"the metadata of {path} are damaged ({problem}); deploy it again with "
            "'nequip-deploy build'"
        ) from problem


def _parse(path: Path, entries: dict[str, str], bad_stack: bool) -> ModelInfo:
    type_names = entries["type_names"].split()
    n = len(type_names)
    r_max = float(entries["r_max"])
    cutoffs = _matrix(entries.get("per_edge_type_cutoff") or " ".join([repr(r_max)] * n * n), n)
    legato_format = entries.get("legato_format")
    history = json.loads(entries.get("legato_history", "{}"))
    usable, remark = _usable(path, entries)
    if bad_stack and usable:
        stack = (
            "it needs an executable stack, which glibc >= 2.41 refuses: there, set "
            "GLIBC_TUNABLES=glibc.rtld.execstack=2, or make the file with 'nequip-deploy build'"
        )
        remark = f"{remark}; {stack}" if remark else stack
    return ModelInfo(
        path=str(path),
        size=path.stat().st_size,
        kind=kind_of(path),
        legato_format=legato_format,
        usable=usable,
        remark=remark,
        type_names=type_names,
        cutoff=max(max(row) for row in cutoffs),
        cutoffs=cutoffs,
        dtype=entries.get("model_dtype", ""),
        device=entries.get("legato_device") or entries.get("AOTI_DEVICE_KEY") or "cpu",
        cpu=entries.get("AOTI_CPU_ISA", ""),
        units=entries.get("legato_units", "metal"),
        shortest_distance=_matrix(
            entries.get("legato_shortest_distance") or " ".join(["inf"] * n * n), n
        ),
        largest_force=float(entries.get("legato_largest_force", "nan")),
        isolated_energy=[float(e) for e in entries.get("legato_isolated_energy", "").split()],
        domain_frames=int(entries.get("legato_domain_frames", "0")),
        domain_origin=history.pop("domain_origin", ""),
        training=json.loads(entries.get("legato_training", "{}")),
        history=history,
        fence=Fence.from_json(entries["legato_fence"]) if "legato_fence" in entries else None,
        versions=json.loads(entries.get("legato_versions", "{}")),
        entries=entries,
    )


def _matrix(text: str, n: int) -> list[list[float]]:
    values = [float(word) for word in text.split()]
    if len(values) != n * n:
        raise ValueError(f"{len(values)} numbers for {n} x {n} types")
    return [values[i * n : (i + 1) * n] for i in range(n)]


def _usable(path: Path, entries: dict[str, str]) -> tuple[bool, str]:
    legato_format = entries.get("legato_format")
    convert = _CONVERT.format(path=path)
    if legato_format is not None:
        if legato_format == FORMAT:
            return True, ""
        return False, f"this version does not know format {legato_format}; it reads {FORMAT}"
    inputs = entries.get("nequip_aoti_inputs", "")
    if inputs == INPUTS and entries.get("nequip_aoti_outputs") == OUTPUTS:
        return True, (
            "made by nequip-compile: it has no record of its training domain and was not checked "
            "in blocks; 'nequip-deploy build' does both"
        )
    if inputs == "pos edge_index atom_types":
        return False, f"a pair_allegro file (positions in, forces out); {convert}"
    if inputs:
        return False, f"compiled for another program (inputs: {inputs}); {convert}"
    return False, f"made by nequip-compile, positions in, as for pair_allegro; {convert}"
