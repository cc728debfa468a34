"""What is wrong with a space is told with the file and the line where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from lca_sweep import cli

MINE = """\
# @package _global_
defaults:
  - override /search: tpe
  - _self_

sweep:
  name: mine
  trials: 4
  space:
    trainer:
      lr: {low: 0.1, high: 0.2}
      algorithm:
        choices: [gbp, bp]
    init:
      seed:
        low: 0
        high: 9
        when: {trainer: {algorithm: gbp}}
"""


@pytest.mark.parametrize(
    ("old", "new", "words", "line", "text"),
    [
        ("low: 0.1", "low: -1", [], 11, "sweep.space.trainer.lr.low=-1.0: must be > 0, as trainer.lr"),
        ("low: 0.1", "low: 0.3", [], 11, "sweep.space.trainer.lr: low=0.3 is above high=0.2"),
        ("[gbp, bp]", "[gbp, pb]", [], 13, "sweep.space.trainer.algorithm.choices[1]=pb: must be one of gbp, bp"),
        ("high: 9", "hihg: 9", [], 17, "sweep.space.init.seed.hihg: there is no 'hihg' in a range"),
        ("seed:", "sede:", [], 15, "sweep.space.init.sede: no such knob; did you mean 'init.seed'?"),
        ("algorithm: gbp}", "algorithm: pgb}", [], 18, "sweep.space.init.seed.when.trainer.algorithm=pgb: "),
        ("low: 0.1", "low: -1", ["sweep.space.init.seed.high=8"], 11, "sweep.space.trainer.lr.low=-1.0: must be > 0"),
        ("", "", ["sweep.space.trainer.lr.low=-1"], 0, "sweep.space.trainer.lr.low=-1.0: must be > 0"),
        ("", "", ["sweep.space.trainer.lr.low=9"], 0, "sweep.space.trainer.lr: low=9.0 is above high=0.2"),
        (
            "",
            "",
            ["++sweep.space.trainer={lr: {low: 0.1, high: -1}}"],
            0,
            "sweep.space.trainer.lr.high=-1.0: must be > 0",
        ),
        ("", "", ["sweep.space.prior.weight={low: -1, high: 1}"], 0, "sweep.space.prior.weight.low=-1.0: must be >= 0"),
        ("", "", ["search=grid"], 11, "sweep.space.trainer.lr: needs choices or step for search=grid"),
        ("trials: 4", "trials: 0", [], 8, "sweep.trials=0: must be >= 1"),
    ],
)
def test_file_and_line(
    old: str,
    new: str,
    words: list[str],
    line: int,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Line 0: it does not come from the file as it stands there. Where it says `low: 0.1`, a sweep builds on it."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "conf/sweep/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(MINE.replace(old, new, 1) if old else MINE)
    other = "# @package _global_\ndefaults: [mine, _self_]\nsweep: {space: {trainer: {beta1: {low: 0.1, high: 0.2}}}}\n"
    (file.parent / "other.yaml").write_text(other)
    sweep = "other" if old == "low: 0.1" else "mine"
    assert cli.main(["--config-dir", "conf", f"+sweep={sweep}", *words]) == 2
    where = f"conf/sweep/mine.yaml, line {line}: " if line else ""
    assert capsys.readouterr().err.startswith(f"lca_sweep: {where}{text}")
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]
