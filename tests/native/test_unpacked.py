"""A model's files that several processes of a machine share: the core's own functions."""

import re
import signal
import subprocess
from pathlib import Path

import pytest
from processes import run_process

from nequip_legato.native import installed
from nequip_legato.native.sources import source_folder

# A package that holds a library and a kernel; reading real ones is tested with LAMMPS.
PROGRAM = r"""
#include "core/package.h"
#include "core/unpacked.h"
#include <fstream>
#include <iostream>
#include <iterator>

namespace caffe2::serialize {
class PyTorchStreamReader {};
}

namespace legato {
Package::Package(const std::string &) {}
Package::~Package() = default;
std::vector<std::string> Package::files(const std::string &model) const
{
  if (model == "alone") return {"lib.so"};
  return {"lib.so", "kernel.cubin"};
}
std::string Package::content(const std::string &, const std::string &file) { return file; }
}    // namespace legato

int main(int, char **arguments)
{
  const std::string what = arguments[1], name = arguments[2];
  legato::Package package("");
  auto unpacked = what == "memory" ? legato::unpack_in_memory(package, "alone")
      : what == "elsewhere"        ? legato::unpacked_elsewhere(name)
                                   : legato::unpack_in_folder(package, "m", what == "keep");
  if (!unpacked) {
    std::cout << "nothing" << std::endl;
    return 0;
  }
  std::ifstream library(unpacked->library());
  const std::string content(std::istreambuf_iterator<char>(library), {});
  std::cout << content << ' ' << unpacked->where() << std::endl;
  for (std::string line; std::getline(std::cin, line);)
    if (line == "loaded") {
      unpacked->loaded();
      std::cout << "done" << std::endl;
    } else if (line == "exit") {
      static auto left = unpacked.release();    // as LAMMPS after an error: styles stay
      return left == nullptr;
    }
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    (folder / "main.cpp").write_text(PROGRAM)
    sources = source_folder() / "lammps_plugin"
    command = [installed.find_compiler(), "-std=c++20", f"-I{sources}", "main.cpp"]
    command += [sources / "core" / "unpacked.cpp", "-ldl", "-o", "main"]
    run_process(*command, cwd=folder)
    return folder / "main"


class Process:
    """One that has unpacked, and what it said."""

    def __init__(self, program: Path, what: str, where: str = "", *, folder: Path) -> None:
        self.process = subprocess.Popen(
            [program, what, where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"TMPDIR": str(folder)},
        )
        self.content, _, self.where = self.answer().partition(" ")

    def answer(self) -> str:
        return self.process.stdout.readline().strip()

    def ask(self, line: str) -> str:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self, how: str) -> None:
        if how == "kill":
            self.process.send_signal(signal.SIGKILL)
        elif how == "exit":
            self.process.communicate("exit\n", timeout=20)
        else:
            self.process.communicate(timeout=20)
        self.process.wait(20)


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "a folder: of mine"
    path.mkdir()
    return path


@pytest.fixture
def run(program, folder):
    """Function: what, where -> process; all have ended afterwards."""
    started = []

    def get(what: str, where: str = "") -> Process:
        started.append(Process(program, what, where, folder=folder))
        return started[-1]

    yield get
    for each in started:
        each.process.kill()
        each.process.wait(20)


@pytest.mark.parametrize("how", ["in order", "exit", "kill"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_folder_goes_with_its_last_process(order, how, run, folder):
    first = run("keep")
    everyone = [first, *(run("elsewhere", first.where) for _ in range(2))]
    assert {p.content for p in everyone} == {"lib.so"}
    assert {p.where for p in everyone} == {first.where}
    for one in order[:2]:
        everyone[one].end(how)
        assert sorted(p.name for p in folder.rglob("*.*")) == ["kernel.cubin", "lib.so"]
    everyone[order[2]].end("exit")
    assert list(folder.iterdir()) == []


def test_a_folder_goes_when_the_last_process_has_loaded_it(run, folder):
    first = run("folder")
    second = run("elsewhere", first.where)
    assert first.ask("loaded") == "done"
    assert list(folder.iterdir())
    assert second.ask("loaded") == "done"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("how", ["in order", "exit", "kill"])
def test_memory_lasts_as_long_as_it_is_used(how, run, folder):
    first = run("memory")
    assert first.content == "lib.so"
    second = run("elsewhere", first.where)
    assert second.content == "lib.so"
    first.end(how)
    third = run("elsewhere", second.where)
    assert third.content == "lib.so"
    assert run("elsewhere", first.where).content == "nothing"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("what", ["memory", "keep"])
def test_another_file_in_its_place_is_not_taken(what, run):
    """The number of a file or process may be given to another one."""
    way, number, name = re.fullmatch(r"(.)(\d+) (.*)", run(what).where).groups()
    assert run("elsewhere", f"{way}{number} {name}").content == "lib.so"
    assert run("elsewhere", f"{way}{int(number) + 1} {name}").content == "nothing"
    for senseless in ("", "m", "m0 /nowhere", "k0 nowhere", f"{way}{number}"):
        assert run("elsewhere", senseless).content == "nothing"
