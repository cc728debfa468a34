"""The picture of a running sweep: a frame of the view, as it was when six tenths of the work were done.

python docs/terminal.py docs/terminal.png [WIDTH [WORDS]]    # trains +sweep=mnist, or what WORDS say; chromium draws
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lca_sweep import cli
from lca_sweep.sweep import driver
from lca_sweep.sweep.drawing import frame
from lca_sweep.sweep.scene import Scene
from lca_sweep.sweep.sheet import Sheet
from lca_sweep.sweep.view import View

SHARE = 0.6
SCALE = 0.8  # of the browser's picture


class Watched(View):
    """Keeps the scene as soon as so much is done, and what was said before."""

    kept: Scene | None = None
    said: list[str] = []  # noqa: RUF012 (one sweep)

    def say(self, line: str, style: str = "") -> None:
        """Keep it, too."""
        super().say(line, style)
        if Watched.kept is None and not line.startswith("["):
            Watched.said.append(line)

    def pack_reported(self, pack: int, report: object) -> None:
        """Look after each epoch."""
        super().pack_reported(pack, report)  # type: ignore[arg-type]
        scene = self.scene()
        if Watched.kept is None and scene.share >= SHARE:
            Watched.kept = scene


def main(target: Path, width: int = 100, words: tuple[str, ...] = ("+sweep=mnist",)) -> None:
    """Train, and draw."""
    target = target.absolute()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chdir(folder)
        driver.View = Watched  # type: ignore[misc]
        assert cli.main([*words, "analysis=none"]) == 0
        assert Watched.kept
        draw(Watched.kept, [line.replace(folder, "~") for line in Watched.said], width, words, target)


def draw(scene: Scene, said: list[str], width: int, words: tuple[str, ...], target: Path) -> None:
    """The terminal as a window."""
    console = Console(record=True, width=width, file=open(os.devnull, "w"), highlight=False)  # noqa: SIM115
    console.print(Text(f"$ python -m lca_sweep {' '.join(words)}"))
    for line in [*map(Text, said), *frame(scene, Sheet(width - 1, 30))]:
        console.print(line, soft_wrap=True)
    svg = console.export_svg(title="lca_sweep")
    box = svg.partition('viewBox="0 0 ')[2].partition('"')[0].split()
    across, down = (round(float(side) * SCALE) for side in box)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        page = Path(folder) / "page.html"
        style = f"body{{margin:0}}svg{{width:{across}px;height:{down}px;display:block}}"
        page.write_text(f"<meta charset=utf-8><style>{style}</style>{svg}", encoding="utf-8")
        manners = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        picture = [f"--screenshot={target}", f"--window-size={across},{down}"]
        subprocess.run(["chromium", *manners, *picture, page.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]), *([tuple(sys.argv[3:])] if sys.argv[3:] else []))
