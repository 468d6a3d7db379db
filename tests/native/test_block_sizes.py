"""How many atoms a block has, and which GPU a process takes: the core's own functions."""

import math

import pytest
from processes import run_process

from nequip_legato.native import installed
from nequip_legato.native.sources import source_folder

PROGRAM = r"""
#include "core/block_size.h"
#include "core/device.h"
#include <iostream>
#include <string>

int main()
{
  std::string what;
  while (std::cin >> what) {
    if (what == "gpu") {
      legato::NodeProcess process;
      int n_gpus;
      std::cin >> process.number >> process.count >> n_gpus;
      std::cout << legato::gpu_of_process(process, n_gpus) << ' '
                << legato::processes_per_gpu(process, n_gpus) << '\n';
    } else if (what == "even") {
      int n, limit, threads;
      std::cin >> n >> limit >> threads;
      std::cout << legato::centers_per_block(n, limit, threads) << '\n';
    } else if (what == "size") {
      int on_gpu, n, centers, threads;
      double bytes, available;
      std::string wanted;
      std::cin >> wanted >> on_gpu >> n;
      legato::BlockSize size(
          wanted == "auto" ? std::nullopt : std::optional<int>(std::stoi(wanted)), on_gpu);
      std::cout << size.limit();
      for (; n > 0; --n) {
        std::cin >> what;
        if (what == "measured") {
          std::cin >> bytes >> centers >> available >> threads;
          size.measured(bytes, centers, available, threads);
        } else {
          std::cin >> centers;
          size.does_not_fit(centers, "full");
        }
        std::cout << ' ' << size.limit();
      }
      std::cout << ' ' << size.to_measure() << ' ' << size.n_failures() << '\n';
    }
  }
}
"""


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """Function: questions -> lists of the numbers that answer each."""
    folder = tmp_path_factory.mktemp("blocks")
    (folder / "main.cpp").write_text(PROGRAM)
    sources = source_folder() / "lammps_plugin"
    command = [installed.find_compiler(), "-std=c++20", f"-I{sources}", "main.cpp", "-o", "main"]
    run_process(*command, cwd=folder)

    def ask(*questions: str) -> list[list[int]]:
        done = run_process(folder / "main", stdin="\n".join(questions))
        return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]

    return ask


@pytest.mark.parametrize("n_gpus", [1, 2, 4, 8])
@pytest.mark.parametrize("n_processes", [1, 3, 4, 8, 13])
def test_processes_spread_over_the_gpus(n_processes, n_gpus, core):
    answers = core(*(f"gpu {number} {n_processes} {n_gpus}" for number in range(n_processes)))
    used = [gpu for gpu, _ in answers]
    counts = [used.count(gpu) for gpu in range(n_gpus)]
    assert sum(counts) == n_processes
    assert max(counts) - min(counts) <= 1
    assert {most for _, most in answers} == {max(counts)}


def test_partitions_on_one_node_use_different_gpus(core):
    """Four partitions of one rank each, which count from their first rank in the whole run."""
    assert [gpu for gpu, _ in core(*(f"gpu {first} 1 4" for first in range(4)))] == [0, 1, 2, 3]


def test_no_gpu(core):
    assert core("gpu 2 4 0") == [[-1, 1]]


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("limit", [1, 7, 128, 32768])
def test_blocks_are_even_and_not_too_large(limit, threads, core):
    """No larger than the limit, and no thread has more blocks than it takes."""
    counts = (1, 2, 127, 128, 129, 1000, 2**31 - 1)
    answers = core(*(f"even {n} {limit} {threads}" for n in counts))
    for n, [size] in zip(counts, answers, strict=True):
        assert 1 <= size <= limit
        rounds, fewest = (math.ceil(math.ceil(n / s) / threads) for s in (size, limit))
        assert rounds == fewest
    assert core(f"even 0 {limit} {threads}") == [[1]]


def test_sizes_on_the_cpu_and_of_the_user_stay(core):
    measured = "measured 1e9 2048 8e9 1"
    assert core(f"size auto 0 1 {measured}") == [[64, 64, 0, 0]]
    assert core(f"size 500 0 1 {measured}") == [[500, 500, 0, 0]]
    assert core(f"size 500 1 1 {measured}") == [[500, 500, 0, 0]]


def test_size_on_a_gpu_follows_its_memory(core):
    """Half of what is free, divided by the threads, and only once."""
    per_atom = 2e6
    for available in (1e9, 1e10):
        for threads in (1, 2):
            measured = f"measured {2048 * per_atom} 2048 {available} {threads}"
            answers = core(f"size auto 1 2 {measured} {measured}")
            [[first, second, third, wanted, failures]] = answers
            assert (first, wanted, failures) == (2048, 0, 0)
            assert second == third == int(0.5 * available / per_atom / threads)
    [[_, largest, *_]] = core("size auto 1 1 measured 1e6 2048 8e10 1")
    assert largest == 32768
    assert core("size auto 1 1 measured 1e6 100 8e10 1") == [[2048, 2048, 1, 0]]  # too few to tell


def test_size_halves_when_it_does_not_fit(core):
    assert core("size auto 1 3 fails 2048 fails 1024 fails 512") == [[2048, 1024, 512, 256, 0, 3]]
    # a block of another thread, which failed at the size before
    assert core("size 100 0 2 fails 100 fails 100") == [[100, 50, 50, 0, 2]]
    # no growth afterwards
    assert core("size auto 1 2 fails 2048 measured 1e6 2048 8e10 1") == [[2048, 1024, 1024, 0, 1]]
