"""What the tests of commands share: a sweep that was begun, made in a moment, and what a command says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from lca_sweep import cli
from lca_sweep.config import Config, Pack, Search, Sweep
from lca_sweep.search.space import Space
from lca_sweep.search.storage import database, journal
from lca_sweep.search.study import Study
from lca_sweep.sweep.folder import opened

SPACE: Space = {"trainer.lr": FloatDistribution(0.01, 0.3, log=True), "model.width": IntDistribution(8, 32)}
TREE = {"trainer": {"lr": {"low": 0.01, "high": 0.3, "log": True}}, "model": {"width": {"low": 8, "high": 32}}}
ENDS = [("complete", 0.5), ("pruned", 0.0), ("complete", 0.75), ("failed", 0.0), ("running", 0.0)]


def begun(folder: Path, name: str, ends: list[tuple[str, float]], trials: int = 6, **search: Any) -> Config:
    """A sweep whose trials have come to these ends, a pack of two each."""
    wanted = Config(
        pack=Pack(size=2),
        search=Search(sampler="random", **search),
        sweep=Sweep(name=name, trials=trials, dir="sweeps", space=TREE),
    )
    with opened(wanted, folder / "sweeps" / name, print) as made:
        storage = database(wanted.search.storage) if wanted.search.storage else journal(made.path)
        books = Study.open(wanted, name, SPACE, storage)
        for row, (state, value) in zip(books.ask([n // 2 for n in range(len(ends))]), ends, strict=True):
            for epoch in (1, 2):
                books.report(row.number, epoch, value * epoch / 2)
            if state != "running":
                books.finish(row.number, state, value, "bad luck" if state == "failed" else "")
    return wanted


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out
