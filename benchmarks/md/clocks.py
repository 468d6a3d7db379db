"""The processor time that other programs take during a measurement."""

import os
import time
from pathlib import Path

__all__ = ["OtherPrograms"]


class OtherPrograms:
    """Measures the load by other programs since its construction; Linux only."""

    def __init__(self) -> None:
        self._busy, self._begin = self._now(), time.perf_counter()

    @staticmethod
    def _now() -> float:
        """Seconds that all processors were busy since the start of the machine."""
        # user nice system idle iowait irq softirq steal, in ticks (proc(5))
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")

    def cores(self, own_seconds: float) -> float:
        """Mean number of cores that other programs kept busy; ``own_seconds``: our own time."""
        wall = time.perf_counter() - self._begin
        return max(0.0, (self._now() - self._busy - own_seconds) / wall)
