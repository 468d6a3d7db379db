"""How far a campaign is."""

from dataclasses import dataclass, field

from nequip_legato.stability.records import Record

__all__ = ["Status"]


@dataclass
class Status:
    """How far a campaign is.

    Attributes:
        total: number of runs.
        records: the finished ones.
        running: names of what this process is doing.
        interrupted: names of runs whose LAMMPS was killed; another call continues them.
        workers: runs at the same time.
        remaining: size -> number of runs that are not finished and not running in this process.
    """

    total: int
    workers: int
    records: list[Record] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    remaining: dict[int, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Number of runs that failed."""
        return sum(record.failed for record in self.records)

    @property
    def censored(self) -> int:
        """Number of runs that reached their step limit."""
        return len(self.records) - self.failed

    @property
    def seconds_left(self) -> float | None:
        """Estimated time left, s, from the finished runs of each size; None before the first."""
        if not self.records:
            return None
        walls: dict[int, list[float]] = {}
        for record in self.records:
            walls.setdefault(record.size, []).append(record.wall)
        overall = sum(r.wall for r in self.records) / len(self.records)
        mean = {size: sum(w) / len(w) for size, w in walls.items()}
        left = sum(n * mean.get(size, overall) for size, n in self.remaining.items())
        return left / self.workers
