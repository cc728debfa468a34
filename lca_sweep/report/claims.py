"""What the paper claims, beside what was measured, with a verdict on each.

Numbers are mean +- half the 95 % interval of Student's t over seeds. The rules, in full:

- A number is *reproduced* where the measured mean differs from the reference's by at most three standard errors of that
  difference, with one spread pooled over both sets of seeds, and half a unit of the last digit of a reference that is
  one network allowed for; else it is *not reproduced*. (With five seeds on each side a true number fails 2 times in
  100, with five seeds beside one network 4 times.) Where no spread is known, one seed against one network, it *cannot
  be told*; nor where seeds spread over three times as much as the reference's, for then anything would agree.
- A statement is *reproduced* where it holds for each seed, *not reproduced* where it holds for none; between these it
  *cannot be told*. At settings other than the paper's it is *seen* or *not seen*: there is no reference.
- Deleting VIP weights *at least doubles* the error where its mean over seeds is at least twice that of each control.
- gBP is *better* or *worse* than BP where the 95 % interval of the difference of means (Welch) leaves out 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lca_sweep.core.perturbation import ARMS, Perturbation
from lca_sweep.report import reference
from lca_sweep.report.intervals import Sample, difference, pooled_error, sample
from lca_sweep.report.reference import paper_trials
from lca_sweep.report.results import SweepResult, TrialResult
from lca_sweep.report.seeds import ALGORITHM, NAMES, Setting, best_with, layers, settings

REPRODUCED, NOT_REPRODUCED, SEEN, NOT_SEEN = "reproduced", "not reproduced", "seen", "not seen"
UNTOLD = "cannot be told: "
DOUBLES = "deleting the VIP weights of layer 1 at least doubles the error of every control"
AGAINST = "gBP and BP"
NO_REFERENCE = "no reference at this setting"
ERRORS = 3  # standard errors that a reproduced number may be off
ACCURACY = sample(reference.ACCURACY)
ARM_NAMES = dict(
    zip(ARMS, ("all VIP deleted", "all UIP replaced", "as many VAR deleted", "as many random deleted"), strict=True)
)


@dataclass(frozen=True)
class Claim:
    """One line of the table; `measured` and `reference` are None where they are no numbers."""

    about: str
    text: str
    verdict: str
    measured: Sample | None = None
    reference: Sample | None = None
    unit: str = ""  # "%", "nats" or "times"; nothing for fractions
    note: str = ""

    @property
    def told(self) -> str:
        """The verdict without its reason."""
        return self.verdict.partition(":")[0]


def claims(result: SweepResult) -> list[Claim]:
    """All that a sweep's complete trials allow to look at; empty where that is nothing."""
    paper, found = paper_trials(result), settings(result)
    if paper:
        return [*_paper(paper), *_against_bp(found)]
    best = _best(found)
    return [*(_elsewhere(best) if best else ()), *_against_bp(found)]


def which(result: SweepResult) -> str:
    """Which trials the claims are about, in a sentence."""
    paper = paper_trials(result)
    if not paper:
        best = _best(settings(result))
        name = f" ({best.label})" if best and best.label not in NAMES.values() else ""
        return f"No trial ran the paper's setting; statements are about the best one{name}. There is {NO_REFERENCE}."
    numbers = ", ".join(str(trial.number) for trial in paper)
    return f"Trials of the paper's setting (gBP, one for each pair of seeds): {numbers}."


def _best(found: Sequence[Setting]) -> Setting | None:
    """The best setting of gBP with complete trials."""
    return best_with([setting for setting in found if not setting.bp], lambda trial: trial.value is not None)


def judge(measured: Sample, against: Sample, slack: float = 0.0) -> str:
    """The verdict on a number; `slack` is half a unit of the reference's last digit."""
    error = pooled_error(measured, against)
    if math.isnan(error):
        return UNTOLD + "one seed against one network, no spread is known"
    if abs(measured.mean - against.mean) > ERRORS * error + slack:
        return NOT_REPRODUCED
    if measured.freedom and against.freedom and measured.sd > 3 * against.sd:
        return UNTOLD + f"the seeds spread {measured.sd / against.sd:.1f} times as much as the reference's"
    return REPRODUCED


def hold(each: Sequence[bool], yes: str, no: str) -> str:
    """The verdict on a statement that holds or not for each of some seeds."""
    if all(each):
        return yes
    return UNTOLD + f"holds for {sum(each)} of {len(each)} seeds" if any(each) else no


def _number(
    about: str,
    text: str,
    values: Sequence[float],
    against: Sample,
    *,
    unit: str = "",
    slack: float = 0.0,
    note: str = "",
) -> Claim:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return Claim(about, text, UNTOLD + "it was not measured", None, against, unit, note)
    if len(known) < len(values):
        note = f"{len(known)} of {len(values)} seeds" + (f"; {note}" if note else "")
    return Claim(about, text, judge(sample(known), against, slack), sample(known), against, unit, note)


def _one(value: float) -> Sample:
    """A reference of one network."""
    return Sample(value, math.nan, 1)


def _paper(trials: Sequence[TrialResult]) -> list[Claim]:
    found = [_number("accuracy", "stochastic pass, test", _last(trials, "test/accuracy"), ACCURACY)]
    for name, fractions in (("uip", reference.UIP), ("vip", reference.VIP)):
        for layer, values in enumerate(fractions, 1):
            measured = _last(trials, f"layer{layer}/{name}_fraction")
            found.append(_number("categories", f"{name.upper()} fraction, layer {layer}", measured, sample(values)))
    return [*found, *_ensemble(trials), *_damage(trials, True), *_entropy(trials, True)]


def _elsewhere(best: Setting) -> list[Claim]:
    """Statements that need no reference number."""
    return [*_damage(best.trials, False), *_entropy(best.trials, False)]


def _last(trials: Sequence[TrialResult], metric: str) -> list[float]:
    return [math.nan if (value := trial.last(metric)) is None else value for trial in trials]


def _ensemble(trials: Sequence[TrialResult]) -> list[Claim]:
    scores = [trial.analysis.ensemble for trial in trials if trial.analysis]
    unknown = [math.nan] * (len(trials) - len(scores))
    note = "the reference is one network; its spread over seeds is taken to be that of the stochastic pass"
    rows = (
        ("sub-networks", reference.SUBNETWORKS, [float(np.mean(score.subnetworks)) for score in scores]),
        ("mean network", reference.MEAN_NETWORK, [score.mean_network for score in scores]),
    )
    found = []
    for name, error, accuracies in rows:
        against = Sample(error, 100 * ACCURACY.sd, 1, borrowed=ACCURACY.freedom)
        errors = [100 * (1 - accuracy) for accuracy in [*accuracies, *unknown]]
        text = f"test error of the {name}"
        found.append(_number("ensemble", text, errors, against, unit="%", slack=0.005, note=note))
    return found


def damage(study: Perturbation, layer: int) -> dict[str, float] | None:
    """Mean test error in percent by arm where all weights of a category are changed; None where that was not tried."""
    whole = [place for place, fraction in enumerate(study.fractions) if math.isclose(fraction, 1)]
    if layer not in study.layers or not whole:
        return None
    errors = 100 * (1 - study.accuracy[study.layers.index(layer), :, whole[0]].mean(-1))
    return dict(zip(ARMS, errors.tolist(), strict=True))


def _damage(trials: Sequence[TrialResult], paper: bool) -> list[Claim]:
    every = [trial.analysis.perturbation if trial.analysis else None for trial in trials]
    studies = [study for study in every if study]
    if not studies:
        return [Claim("perturbation", DOUBLES, UNTOLD + "no weights were perturbed")] if paper else []
    return [_doubles(studies, paper), *(_damage_numbers(every) if paper else ())]


def _doubles(studies: Sequence[Perturbation], paper: bool) -> Claim:
    """The mean error with all VIP weights of layer 1 deleted, in units of the largest of the controls' mean errors.

    Its spread is that of the seeds' own ratios.
    """
    yes, no, remark = (REPRODUCED, NOT_REPRODUCED, "") if paper else (SEEN, NOT_SEEN, f"; {NO_REFERENCE}")
    errors = [damage(study, 1) for study in studies]
    if None in errors:
        return Claim("perturbation", DOUBLES, UNTOLD + "not all of layer 1 was tried")
    if any(study.changed[study.layers.index(1), 0].max() == 0 for study in studies):
        return Claim("perturbation", DOUBLES, UNTOLD + "layer 1 has no VIP weights")
    each = [_ratio(arms) for arms in errors if arms]
    mean = _ratio({arm: float(np.mean([arms[arm] for arms in errors if arms])) for arm in ARMS})
    note = f"of the mean errors; it does so for {sum(one >= 2 for one in each)} of {len(each)} seeds by itself{remark}"
    against = _one(_ratio(reference.DAMAGE[1])) if paper else None
    measured = dataclasses.replace(sample(each), mean=mean)
    return Claim("perturbation", DOUBLES, yes if mean >= 2 else no, measured, against, "times", note)


def _ratio(arms: Mapping[str, float]) -> float:
    first, *controls = (arms[arm] for arm in ARMS)
    return first / max(*controls, 1e-9)


def _damage_numbers(studies: Sequence[Perturbation | None]) -> list[Claim]:
    found = []
    for layer, arms in reference.DAMAGE.items():
        errors = [study and damage(study, layer) for study in studies]
        for arm, value in arms.items():
            text = f"test error, layer {layer}, {ARM_NAMES[arm]}"
            values = [each[arm] if each else math.nan for each in errors]
            found.append(_number("perturbation", text, values, _one(value), unit="%", slack=0.05))
    return found


def _entropy(trials: Sequence[TrialResult], paper: bool) -> list[Claim]:
    numbers = layers(trials, "entropy")
    about, text = "entropy", "entropy per weight is highest in a layer between the first and the last"
    yes, no, note = (REPRODUCED, NOT_REPRODUCED, "") if paper else (SEEN, NOT_SEEN, NO_REFERENCE)
    seeds = [_profile(trial, numbers) for trial in trials]
    known = [each for each in seeds if each]
    if len(numbers) < 3 or not known:
        return [Claim(about, text, UNTOLD + "it was not measured", note=note)] if paper else []
    found = [Claim(about, text, hold([_inside(each) for each in known], yes, no), note=note)]
    for layer, value in enumerate(reference.ENTROPY if paper else ()):
        measured = [each[layer] for each in known]
        found.append(_number(about, f"layer {layer + 1}", measured, _one(value), unit="nats", slack=0.005))
    return found


def _inside(profile: Sequence[float]) -> bool:
    """Whether the largest is neither the first nor the last."""
    return max(profile[1:-1]) > max(profile[0], profile[-1])


def _profile(trial: TrialResult, numbers: Sequence[int]) -> list[float]:
    """Entropy by layer, or nothing where a layer's is not known."""
    values = [value for layer in numbers for value in _last([trial], f"layer{layer}/entropy")]
    return values if all(map(math.isfinite, values)) else []


def _against_bp(found: Sequence[Setting]) -> list[Claim]:
    """For each setting that was trained by both: gBP's mean test accuracy less BP's."""
    rest: dict[bool, dict[str, Setting]] = {False: {}, True: {}}
    for setting in found:
        rest[setting.bp][str(sorted((k, str(v)) for k, v in setting.knobs.items() if k != ALGORITHM))] = setting
    pairs = [(one, rest[True][key]) for key, one in rest[False].items() if key in rest[True]]
    return [claim for gbp, bp in pairs if (claim := _compare(gbp, bp))]


def _compare(gbp: Setting, bp: Setting) -> Claim | None:
    ours, theirs = (
        [v for v in _last([t for t in s.trials if t.value is not None], "test/accuracy") if math.isfinite(v)]
        for s in (gbp, bp)
    )
    if not ours or not theirs:
        return None
    a, b = sample(ours), sample(theirs)
    step, half = difference(a, b)
    text = f"gBP against BP, test accuracy: {gbp.label} {a.mean:.4f}, {bp.label} {b.mean:.4f}"
    if math.isnan(half):
        verdict = UNTOLD + f"{100 * step:+.2f} points, no spread is known"
    else:
        seen = "no difference is seen" if abs(step) <= half else f"gBP is {'better' if step > 0 else 'worse'}"
        verdict = f"{seen}: {100 * step:+.2f} ± {100 * half:.2f} points"
    note = f"{a.count} and {b.count} seeds; gBP's accuracy is that of the stochastic pass; {NO_REFERENCE}"
    return Claim(AGAINST, text, verdict, note=note)
