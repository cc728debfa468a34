"""How fast a sweep is, and how long the rest will take at that pace."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

WINDOW = 300.0  # seconds that the pace is taken over, so that it follows machines that come and go
REPORTS = 20  # and at least so many reports, where they are rare
SHORT = 10.0  # seconds to the first report in which the start of its process counts for too much
GRAIN = 0.5  # seconds; reports nearer to each other are one mark


@dataclass(frozen=True)
class Mark:
    """How much had been done at a time, in this run: work as planned, trial-epochs as trained, and reports."""

    time: float
    planned: float = 0.0
    trained: float = 0.0
    reports: int = 0


@dataclass
class Pace:
    """Work by time. Work as planned knows what early stopping leaves out, so that an epoch's is less after a rung.

    The first pack's first epoch comes late, for its process has to start: it is taken to have lasted as long as those
    up to the pack's next report that comes at another time.
    """

    start: float  # seconds, of any clock
    marks: list[Mark] = field(init=False)
    first: tuple[int, float] | None = None  # the pack that reported first, and when
    waits: int = 0  # its reports since, until it is known when it began to train

    def __post_init__(self) -> None:
        self.marks = [Mark(self.start)]

    def tell(self, now: float, pack: int, planned: float, trained: float) -> None:
        """A pack has reported an epoch; both amounts of work are those of all packs since the start."""
        if self.first is None:
            self.first, self.waits = (pack, now), 1
        elif self.waits and self.first[0] == pack:
            self._begin(now)
        self._keep(Mark(now, planned, trained, self.marks[-1].reports + 1))

    def left(self, now: float, to_do: float) -> float | None:
        """Seconds until `to_do` of the planned work is done, too; >= 0. None while that cannot be told.

        Between reports it counts down, and stands still where one is overdue.
        """
        done = self.marks[-1].planned - self.marks[0].planned
        span, waited = self._span(now)
        if done <= 0 or (self.marks[-1].reports == 1 and span < SHORT):
            return None
        return max(0.0, to_do / done * span - waited)

    def rate(self, now: float) -> float | None:
        """Trial-epochs a second; None before it can be known. It falls while a report is overdue."""
        span, _ = self._span(now)
        done = self.marks[-1].trained - self.marks[0].trained
        return done / span if done > 0 and span > 0 else None

    def _span(self, now: float) -> tuple[float, float]:
        """Seconds in which the marks' work was done, and those of the next report that have passed."""
        first, last = self.marks[0], self.marks[-1]
        gap = (last.time - first.time) / max(1, last.reports - first.reports)
        return max(last.time, now - gap) - first.time, min(now - last.time, gap)

    def _begin(self, now: float) -> None:
        """Another report of the first pack: when did its training begin?"""
        assert self.first is not None
        when = self.first[1]
        if now > when and self.marks[0].reports == 0:
            self.marks[0] = replace(self.marks[0], time=max(when - (now - when) / self.waits, self.start))
        self.waits = 0 if now > when else self.waits + 1

    def _keep(self, mark: Mark) -> None:
        if len(self.marks) > 2 and mark.time - self.marks[-2].time < GRAIN:
            self.marks[-1] = mark
        else:
            self.marks.append(mark)
        while len(self.marks) > REPORTS + 1 and self.marks[1].time < mark.time - WINDOW:
            self.marks.pop(0)
