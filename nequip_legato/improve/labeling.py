"""Labeling structures with an ASE calculator, in processes of their own."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError

from nequip_legato.errors import LegatoError, one_line
from nequip_legato.improve.labels import BAD, Label, LabelStore, check_label
from nequip_legato.improve.structures import id_of

__all__ = ["label_structures", "make_calculator", "one_label"]


def make_calculator(config: Mapping[str, Any]) -> Calculator:
    """An ASE calculator from its import path and keywords, by hydra.

    Args:
        config: ``_target_``, e.g. ``tblite.ase.TBLite``, and keyword arguments.

    Raises:
        LegatoError: if it cannot be imported or made.
    """
    from hydra.utils import instantiate

    try:
        calculator = instantiate(dict(config), _convert_="all")
    except Exception as problem:  # of hydra, of the import, and of the calculator itself
        cause: BaseException = problem
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise LegatoError(
            f"labels: the calculator {config['_target_']} cannot be made ({one_line(cause)})"
        ) from problem
    if not hasattr(calculator, "get_potential_energy"):
        raise LegatoError(f"labels: {config['_target_']} is not an ASE calculator; name one")
    return calculator


def one_label(atoms: Atoms, config: Mapping[str, Any], largest_force: float) -> Label:
    """Label one structure with a new calculator.

    An exception of the calculator makes a bad label; so does an attribute ``converged`` that is
    False. Stress is left out if the calculator has none.

    Args:
        atoms: the structure.
        config: of the calculator, see `nequip_legato.improve.labeling.make_calculator`.
        largest_force: limit, eV/Angstrom.

    Raises:
        LegatoError: if the calculator cannot be made.
    """
    calculator = make_calculator(config)
    copy = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.calc = calculator
    started = time.monotonic()
    energy = forces = stress = None
    problem = ""
    try:
        energy, forces = copy.get_potential_energy(), copy.get_forces()
        try:
            stress = copy.get_stress() if copy.cell.rank == 3 else None
        except (PropertyNotImplementedError, NotImplementedError):
            stress = None
        if getattr(calculator, "converged", None) is False:
            problem = "the calculator reports that it has not converged"
    except Exception as raised:
        problem = one_line(raised)
    return check_label(
        atoms,
        energy=energy,
        forces=forces,
        stress=stress,
        largest_force=largest_force,
        problem=problem,
        seconds=round(time.monotonic() - started, 3),
    )


def label_structures(
    structures: Sequence[Atoms],
    config: Mapping[str, Any],
    store: LabelStore,
    *,
    largest_force: float,
    jobs: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Label structures that have no label yet; each label is stored as soon as it is there.

    A structure at which the calculator's process crashes or runs out of memory is set aside.

    Args:
        structures: what to label.
        config: of the calculator, see `nequip_legato.improve.labeling.make_calculator`.
        store: where labels are kept.
        largest_force: limit, eV/Angstrom.
        jobs: number of labels at the same time, each in a process of its own.
        report: called with a line after each label.

    Raises:
        LegatoError: if the calculator cannot be made, or labels cannot be kept.
    """
    waiting = {id_of(atoms): atoms for atoms in structures if id_of(atoms) not in store}
    total = len(waiting)
    suspects: list[str] = []
    while waiting:
        # When a process crashed, its structures are tried one by one to find the cause.
        batch = suspects[:1] or list(waiting)
        try:
            workers = 1 if suspects else min(jobs, len(batch))
            with _pool(workers) as pool:
                todo = {n: waiting[n] for n in batch}
                for name, label in _labels(pool, workers, todo, config, largest_force):
                    store.append(label)
                    del waiting[name]
                    if name in suspects:
                        suspects.remove(name)
                    what = f"set aside: {label.reason}" if label.status == BAD else "good"
                    report(f"label {total - len(waiting)} of {total}: {what}")
        except BrokenProcessPool:
            if not suspects:
                suspects = [n for n in batch if n in waiting]
                continue
            name = suspects.pop(0)
            store.append(Label(name, BAD, "the process of the calculator crashed"))
            del waiting[name]
            report(f"label {total - len(waiting)} of {total}: set aside: its process crashed")


def _labels(
    pool: ProcessPoolExecutor,
    workers: int,
    structures: Mapping[str, Atoms],
    config: Mapping[str, Any],
    largest_force: float,
) -> Iterator[tuple[str, Label]]:
    """Labels in the order in which they are finished.

    The pool gets only as many structures as it has workers: after a kill, nothing more of a queue
    is labeled in vain.
    """
    queue = iter(structures.items())
    running: dict[Future[Label], str] = {}
    while True:
        for name, atoms in islice(queue, workers - len(running)):
            running[pool.submit(one_label, atoms, config, largest_force)] = name
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            if isinstance(future.exception(), BrokenProcessPool):
                continue  # first return what other processes have finished
            yield running.pop(future), future.result()
        if any(future in running for future in done):
            raise BrokenProcessPool


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with,
        initargs=(os.getpid(),),
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, only running labels are finished


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, which cannot tell it after SIGKILL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
