"""Processor time and memory of the command line, as a program of its own."""

import sys
from dataclasses import dataclass

from processes import run_process

# The largest memory that getrusage tells includes that of the process which started the program:
# VmHWM does not.
_SCRIPT = """
import resource, sys
from nequip_legato.cli import main
status = main(sys.argv[1:])
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
memory = next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]
print("MEASURED", sum(u.ru_utime + u.ru_stime for u in used), int(memory) / 1024)
sys.exit(status)
"""


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Attributes:
        seconds: of processor time, with the programs that it started.
        megabytes: its own largest memory.
    """

    seconds: float
    megabytes: float


def measure(*arguments: object) -> Measured:
    """Run ``nequip-legato ARGUMENTS``, which must succeed."""
    environment = {"OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _SCRIPT, *arguments]
    done = run_process(*command, environment=environment, timeout=300)
    measured = Measured(*map(float, done.stdout.split("MEASURED")[1].split()))
    print(arguments, measured)
    return measured
