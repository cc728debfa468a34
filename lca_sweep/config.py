"""Every knob of lca_sweep, once: the trial's from the core, and those of the sweep around it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from lca_sweep.core.knobs import (
    Init,
    KnobError,
    Model,
    Prior,
    Trainer,
    TrialKnobs,
    check,
    check_trial,
    flat,
    knob,
    written,
)
from lca_sweep.core.objective import Constraint, Goal, Objective

__all__ = [
    "Analysis",
    "Cluster",
    "Config",
    "Data",
    "KnobError",
    "Pack",
    "Pruner",
    "Search",
    "Sweep",
    "Tracking",
    "validate",
]


DATA = ("mnist", "mnist_full", "fashion_mnist", "cifar10", "digits")
NO_FILES = ("mnist", "digits")  # they come with lca_sweep
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")  # also a folder's name


S3_OPTIONS = {"endpoint_override", "region", "scheme", "tls_ca_file_path"}  # in a URL; the environment does for most
PASSWORD = re.compile(r"(://[^:/@]*:)\S*(?=@)|([?&]password=)[^&]*")


def without_password(url: str) -> str:
    """A URL as it may be shown and written: `postgresql://me:***@host/db`."""
    return PASSWORD.sub(r"\1\2***", url)


@dataclass
class Data:
    """Which images."""

    name: str = knob("mnist", "data set", choices=DATA)
    dir: str | None = knob(None, "folder with the data set's files; null: the user's cache, filled by a download")


USUAL_SIZE = 8  # of a pack


@dataclass
class Pack:
    """Trials trained together as one batched computation."""

    size: int | None = knob(
        None,
        "trials in a pack; null: 8, on GPUs of this machine as many as they hold, at most a quarter of the sweep's",
        ge=1,
        le=4096,
    )
    padding: float = knob(
        1.0, "trials of unlike widths share tensors while that is at most so many times their own work", ge=1
    )
    checkpoint_every: int = knob(5, "epochs between checkpoints of a pack", ge=1)

    @property
    def trials(self) -> int:
        """The size; the usual one as long as nobody has looked at the machine (sweep/sizing.py)."""
        return self.size or USUAL_SIZE


@dataclass
class Tpe:
    """Tree-structured Parzen estimator (Bergstra et al. 2011)."""

    candidates: int = knob(24, "points of which the one of the largest expected improvement is taken", ge=1)
    multivariate: bool = knob(True, "knobs are drawn together, not one by one")
    constant_liar: bool = knob(True, "trials that still run count as bad ones, so that a pack's differ")


@dataclass
class Qmc:
    """Quasi-random sequences, which fill the space more evenly than random draws."""

    sequence: str = knob("sobol", "low-discrepancy sequence", choices=("sobol", "halton"))
    scramble: bool = knob(True, "randomise the sequence, by search.seed")


@dataclass
class Cmaes:
    """Covariance matrix adaptation (Hansen 2016), for knobs that are numbers; choices are drawn at random."""

    sigma: float = knob(0.25, "first standard deviation, in widths of the space", gt=0, le=1)
    population: int | None = knob(None, "trials in a generation; null: 4 + 3 log(knobs)", ge=2)


@dataclass
class Gp:
    """Gaussian process with a Matern kernel, by expected improvement of log(objective)."""

    noiseless: bool = knob(False, "the objective has no noise: a setting trained again gives the same value")


@dataclass
class Nsga2:
    """Non-dominated sorting genetic algorithm (Deb et al. 2002)."""

    population: int = knob(32, "trials in a generation", ge=2)
    crossover: float = knob(0.9, "probability that a trial has two parents", ge=0, le=1)
    mutation: float | None = knob(None, "probability that a knob is drawn anew; null: 1/knobs", ge=0, le=1)


SAMPLERS = ("tpe", "random", "qmc", "grid", "cmaes", "gp", "nsga2")


@dataclass
class Search:
    """How Optuna proposes trials, and what for."""

    objectives: list[str] = knob(
        ["maximize val/accuracy"], "what is maximised or minimised after the last epoch; several: a Pareto set"
    )
    constraints: list[str] = knob([], "bounds that a trial is to keep, e.g. val/accuracy >= 0.93")
    sampler: str = knob("tpe", "how trials are proposed; each has a conf file, search=NAME", choices=SAMPLERS)
    seed: int = knob(0, "seed of the sampler", ge=0, lt=2**32)
    startup_trials: int = knob(
        10, "complete trials before tpe and gp stop drawing at random; no other sampler does that", ge=0
    )
    tpe: Tpe = field(default_factory=Tpe)
    qmc: Qmc = field(default_factory=Qmc)
    cmaes: Cmaes = field(default_factory=Cmaes)
    gp: Gp = field(default_factory=Gp)
    nsga2: Nsga2 = field(default_factory=Nsga2)
    enqueue: list[Any] = knob([], "points to be trained first, each a tree like the knobs'; the sampler adds the rest")
    enqueue_csv: str | None = knob(None, "file with more such points: a column for each knob, a line for each point")
    warm_start: str | None = knob(None, "name of an earlier sweep, in sweep.dir, that this one learns from")
    warm_start_best: int | None = knob(
        None, "train so many of its best settings again first; null: take over what it knows, of the same space", ge=1
    )
    storage: str | None = knob(None, "Optuna storage URL; null: a journal file in the sweep's folder")
    patience: float = knob(60.0, "seconds without an answer of the storage until the sweep stops", ge=0)
    deterministic: bool = knob(
        False,
        "suggestions do not depend on timing: trials are asked for in generations, each when the one before has ended; "
        "extend such a sweep (sweep.trials) only after its end",
    )
    generation: int = knob(4, "packs in a generation (deterministic search)", ge=1)

    def goal(self) -> Goal:
        """What the search is for; KnobError where the words say nothing."""
        objectives = tuple(Objective.parse(text, "search.objectives") for text in self.objectives)
        constraints = tuple(Constraint.parse(text, "search.constraints") for text in self.constraints)
        if not objectives:
            raise KnobError("search.objectives=[]: must name at least one, e.g. maximize val/accuracy")
        return Goal(objectives, constraints)


PRUNER_KNOBS: dict[str, tuple[str, ...]] = {  # which knobs each pruner looks at
    "none": (),
    "halving": ("eta", "min_epochs"),
    "hyperband": ("eta", "min_epochs"),
    "median": ("min_epochs", "startup_trials"),
    "percentile": ("min_epochs", "startup_trials", "percentile"),
}


@dataclass
class Pruner:
    """Which trials leave a pack early."""

    name: str = knob(
        "none",
        "halving: the best 1/eta of a pack stay at each rung; hyperband: so too, with a first rung that differs from "
        "pack to pack; median, percentile: a trial stays while earlier packs' trials were no better at its epoch",
        choices=tuple(PRUNER_KNOBS),
    )
    eta: int = knob(2, "one in eta trials stays at a rung (halving, hyperband)", ge=2)
    min_epochs: int = knob(5, "epoch of the first rung, each next one eta times later; or of the first look", ge=1)
    percentile: float = knob(25.0, "a trial stays within the best so many percent (pruner=percentile)", gt=0, lt=100)
    startup_trials: int = knob(5, "trials to compare with, at least (median, percentile)", ge=1)


@dataclass
class Cluster:
    """Where packs run."""

    address: str = knob("local", "local: a Ray of our own on this machine; else the address of a running Ray cluster")
    packs: int | None = knob(
        None,
        "packs trained at the same time; null: as many as the resources allow. Of a running cluster: so many places "
        "are asked for, for an autoscaler to bring; null: as many as fit on the machines that are there now",
        ge=1,
    )
    cpus_per_pack: int = knob(1, "CPU cores, and threads, of a pack", ge=1)
    gpus_per_pack: float | None = knob(None, "GPUs of a pack, e.g. 0.5; null: 1 where there is a GPU, else 0", ge=0)
    max_failures: int = knob(3, "times in a row, without news, that a pack is started again", ge=0)


@dataclass
class Tracking:
    """Where MLflow keeps the runs."""

    uri: str = knob("sqlite:///mlflow.db", "MLflow tracking URI")
    experiment: str = knob("lca_sweep", "MLflow experiment")


@dataclass
class Analysis:
    """What is found out about trained networks when a sweep is over, on the test images."""

    report: bool = knob(True, "make a page of results and figures at the end of the sweep")
    trials: int | None = knob(1, "so many of the best trials are looked into; null: all complete ones", ge=0)
    subnetworks: int = knob(100, "sub-networks that are drawn from each", ge=2)
    perturbation: bool = knob(False, "also change weights of each category, layer by layer (Li & Huang 2020, Fig. 3)")
    repeats: int = knob(10, "sub-networks in which they are changed", ge=2)


@dataclass
class Sweep:
    """A named search."""

    name: str | None = knob(None, "name of the sweep, also of its folder; null: made from the knobs")
    question: str = knob("", "what the sweep is to find out; heads its report")
    dir: str = knob("sweeps", "folder that holds the folders of all sweeps")
    storage: str | None = knob(
        None, "where checkpoints and weights go: a folder or s3://bucket/path; null: the sweep's folder"
    )
    trials: int | None = knob(1, "trials in all; null: all points of the grid (search=grid)", ge=1)
    replicates: int = knob(0, "new seeds with which each finalist is trained again at the end; 0: no finals", ge=0)
    finalists: int = knob(3, "settings that are trained again, the best of the search (sweep.replicates)", ge=1)
    resume: str = knob(
        "auto",
        "auto: a sweep of this name goes on; never: it is put aside, and a new one begins",
        choices=("auto", "never"),
    )
    target: float | None = knob(
        None, "stop as soon as a complete trial keeps all constraints, and its (first) objective is this or better"
    )
    time_budget: float | None = knob(None, "seconds after which a start stops, to go on another time", gt=0)
    grace: float = knob(25.0, "seconds from SIGTERM to an end at once; in between epochs are finished", ge=0)
    space: dict[str, Any] = knob(
        {},
        "what is searched: a tree like the knobs', leaves {low, high, log, step}, {choices} or {value}, each also with "
        "when: a tree of other knobs' values for which it exists",
    )

    def total(self) -> int:
        """Trials in all, once the door has put a number in the place of null."""
        assert self.trials is not None
        return self.trials


@dataclass
class Config:
    """One composed configuration. `validate` has passed on every Config that leaves the door."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    init: Init = field(default_factory=Init)
    trainer: Trainer = field(default_factory=Trainer)
    prior: Prior = field(default_factory=Prior)
    pack: Pack = field(default_factory=Pack)
    search: Search = field(default_factory=Search)
    pruner: Pruner = field(default_factory=Pruner)
    cluster: Cluster = field(default_factory=Cluster)
    tracking: Tracking = field(default_factory=Tracking)
    analysis: Analysis = field(default_factory=Analysis)
    sweep: Sweep = field(default_factory=Sweep)

    def trial(self) -> TrialKnobs:
        """The knobs of a trial where the search space changes nothing."""
        return TrialKnobs(self.model, self.init, self.trainer, self.prior)


def validate(config: Config) -> None:
    """Raise KnobError in one line if a knob is out of its range, or if two knobs contradict each other."""
    check(config)
    check_trial(config.trial())
    _check_sampler(config.search)
    _check_pruner(config.pruner, config.pack.trials)
    if config.data.dir is not None and config.data.name in NO_FILES:
        others = ", ".join(name for name in DATA if name not in NO_FILES)
        raise KnobError(
            f"data.dir={config.data.dir}: {config.data.name} needs no files; "
            f"must be null (or data.name one of {others})"
        )
    gpus = config.cluster.gpus_per_pack
    if gpus is not None and gpus > 1 and gpus != int(gpus):
        raise KnobError(f"cluster.gpus_per_pack={gpus:g}: must be a whole number, or <= 1")
    if gpus == 0 and config.trainer.precision != "float32":
        raise KnobError(
            f"trainer.precision={config.trainer.precision}: only a GPU has it; "
            "must be float32 with cluster.gpus_per_pack=0"
        )
    if config.sweep.name is not None and not NAME.fullmatch(config.sweep.name):
        raise KnobError(f"sweep.name={config.sweep.name}: must be letters, digits, '.', '_' or '-', not '.' first")
    if config.sweep.trials is None and config.search.sampler != "grid":
        raise KnobError("sweep.trials=null: must be a whole number >= 1, but for search=grid, where null is all points")
    if config.sweep.storage is not None:
        _check_storage(config.sweep.storage)
    if config.model.widths is not None and not config.model.widths:
        raise KnobError("model.widths=[]: must name at least one hidden layer (or be null)")


def _check_sampler(search: Search) -> None:
    """Raise KnobError if the sampler cannot do what is asked for, or if a knob is set that only others have."""
    values, defaults = flat(search), flat(Search())
    for name, value in values.items():
        section = name.partition(".")[0]
        others = section in SAMPLERS and section != search.sampler
        if others and value != defaults[name]:
            raise KnobError(f"search.{name}={written(value)}: has no effect with search.sampler={search.sampler}")
    if len(search.goal().objectives) > 1 and search.sampler == "cmaes":
        raise KnobError(f"search.objectives={search.objectives}: search.sampler=cmaes takes one; say e.g. search=nsga2")


def _check_pruner(pruner: Pruner, size: int) -> None:
    """Raise KnobError for a knob that this pruner does not look at, or if it could not compare anything."""
    used = PRUNER_KNOBS[pruner.name]
    for name, default in vars(Pruner()).items():
        value = getattr(pruner, name)
        if name not in ("name", *used) and value != default:
            users = ", ".join(user for user, names in PRUNER_KNOBS.items() if name in names)
            raise KnobError(f"pruner.{name}={value}: has no effect with pruner={pruner.name}, only with {users}")
    if "eta" in used and size < pruner.eta:
        raise KnobError(
            f"pack.size={size}: pruner={pruner.name} compares the trials of a pack; "
            f"must be >= pruner.eta={pruner.eta} (or pruner=none)"
        )


def _check_storage(place: str) -> None:
    """Raise KnobError unless it is a folder or a URL of S3; a URL with keys is not repeated, and gets into no file."""
    scheme, is_url, rest = place.partition("://")
    path, _, query = rest.partition("?")
    bucket = path.partition("/")[0]
    if is_url and ("@" in path or ":" in bucket):
        raise KnobError("sweep.storage: no keys in the URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead")
    if is_url and (unknown := sorted(dict(parse_qsl(query, keep_blank_values=True)).keys() - S3_OPTIONS)):
        raise KnobError(f"sweep.storage: ?{unknown[0]}=: must be one of {', '.join(sorted(S3_OPTIONS))}")
    if not place or (is_url and (scheme != "s3" or not bucket)):
        raise KnobError(f"sweep.storage={place}: must be a folder or s3://bucket/path")
