"""Which room of the package may import which; a new reader finds the order here."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import nequip_legato

ROOT = Path(nequip_legato.__file__).parent

# Each room may import those that are named beside it, and the base. Lazy imports count.
BASE = {"errors", "files", "lazy", "__init__"}
ROOMS = {
    "fence": set(),
    "kernels": set(),
    "sam": set(),
    "migrate": set(),
    "training_plots": set(),
    "native": set(),
    "calculator": {"native"},
    "lammps": {"native"},
    "deployed": {"fence"},
    "trained": {"deployed"},
    "sharpness": {"trained", "sam"},
    "deploy": {"trained", "deployed", "fence", "kernels", "native"},
    "stability": {"deployed"},
    "quantum": {"stability"},
    "improve": {"stability", "deploy", "deployed", "trained", "fence", "calculator"},
    "cli": {
        *("deploy", "fence", "improve", "lammps", "migrate", "quantum", "sharpness", "stability"),
        "training_plots",
    },
}
# Within a room: what its parts may import of one another.
PARTS = {
    "stability/statistics": {"stability/records"},
    "stability/run": {"stability/records", "stability/trace"},
    "stability/report": {
        *("stability/records", "stability/trace", "stability/statistics"),
        "stability/run",
    },
}


@cache
def modules() -> dict[str, Path]:
    """Dotted name below the package -> file."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "cpp" not in parts:
            found[".".join(parts)] = path
    return found


def imported(path: Path, *, at_start: bool) -> Iterator[str]:
    """Modules of ours that a file imports, not for type checkers; ``at_start``: not lazily."""

    def walk(node: ast.AST) -> Iterator[ast.ImportFrom | ast.Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if at_start and isinstance(child, ast.FunctionDef):
                continue
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child
            yield from walk(child)

    known = modules()
    for node in walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.partition(".")[0] != "nequip_legato":
                continue
            below = name.removeprefix("nequip_legato").lstrip(".")
            while below and below not in known and f"{below}.__init__" not in known:
                below = below.rpartition(".")[0]
            yield below if below in known else f"{below}.__init__".lstrip(".")


def room(module: str) -> str:
    return module.partition(".")[0]


def part(module: str) -> str:
    return "/".join(module.split(".")[:2])


@pytest.mark.parametrize("module", modules())
def test_imports_only_what_its_room_may(module):
    mine = room(module)
    if mine in BASE:
        assert {room(other) for other in imported(modules()[module], at_start=True)} <= BASE
        return
    allowed = BASE | ROOMS[mine] | {mine}
    for other in imported(modules()[module], at_start=False):
        assert room(other) in allowed, f"{mine} must not import {other}"
        if part(module) in PARTS and room(other) == mine:
            assert part(other) in PARTS[part(module)] | {part(module)}, other


def test_every_room_is_named():
    assert {room(module) for module in modules()} - BASE == set(ROOMS)


def test_rooms_form_no_circle():
    list(TopologicalSorter(ROOMS).static_order())


def test_modules_form_no_circle():
    graph = {m: set(imported(path, at_start=True)) - {m} for m, path in modules().items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as problem:
        pytest.fail(f"circle of imports: {' <- '.join(problem.args[1])}")


def test_tests_run_programs_in_one_way():
    """``run_process``, but for what runs without or before tests; Popen for what is killed."""
    tests = Path(__file__).parent
    own = {"processes.py", "compile_cache.py", "build_lammps.py", "kernels_compiled.py"}
    own.add(Path(__file__).name)
    for path in sorted(tests.rglob("*.py")):
        found = re.findall(r"subprocess\.(?:run|call|check_\w+|getoutput)", path.read_text())
        assert not found or path.name in own, f"{path.relative_to(tests)}: {found}"


def test_pure_rooms_need_no_torch():
    """``nequip-deploy info``, the launcher of LAMMPS and statistics run where torch is not."""
    heavy = {"torch", "nequip", "allegro", "e3nn", "lightning"}
    for module, path in modules().items():
        if room(module) in {"deployed", "native", "lammps", "cli"} or part(module) in PARTS:
            for node in ast.parse(path.read_text()).body:
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                assert not heavy & {name.partition(".")[0] for name in names}, module


def test_tests_import_no_tests():
    """What two of them need has a module of its own: a test can be changed without another."""
    tests = Path(__file__).parent
    for path in sorted(tests.rglob("*.py")):
        found = re.findall(r"^\s*(?:from|import) (test_\w+)", path.read_text(), re.M)
        assert not found, f"{path.relative_to(tests)}: {found}"
