"""What goes to a cluster with a sweep: the package as it is here, its conf folder, and files that the words name."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from lca_sweep.sweep.provenance import COMMIT, code_commit

OWN, POINTS = "own", "points.csv"
LEFT = shutil.ignore_patterns("__pycache__", "conf", ".*")  # a wheel has its conf folder inside the package


@dataclass(frozen=True)
class Parcel:
    """A sweep to be sent: its name, the words that were checked, and what else they need."""

    name: str
    words: tuple[str, ...]
    conf: Path
    own: Path | None = None  # a conf folder of the user's
    points: Path | None = None  # a table of points
    grace: float = 25.0  # seconds that it wants for its end

    def command(self) -> list[str]:
        """What is run in the folder that `fill` makes."""
        own = ["--config-dir", OWN] if self.own else []
        points = [f"search.enqueue_csv={POINTS}"] if self.points else []
        return ["python", "-m", "lca_sweep", *own, *self.words, *points, "cluster.address=auto"]

    def fill(self, folder: Path) -> None:
        """Put everything there; the same files each time, so that a cluster keeps one copy of them."""
        shutil.copytree(Path(__file__).parents[1], folder / "lca_sweep", ignore=LEFT)
        shutil.copytree(self.conf, folder / "conf", ignore=LEFT)
        if self.own:
            for file in sorted(self.own.rglob("*.yaml")):
                there = folder / OWN / file.relative_to(self.own)
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, there)
        if self.points:
            shutil.copyfile(self.points, folder / POINTS)
        if commit := code_commit():
            (folder / COMMIT).write_text(commit)
