"""All that one can do wrong, in one table: the user sees one to three lines, and nothing is half made."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from sweep_helpers import Ended, free_port
from wrong_helpers import (
    OTHER_RAY,
    Wrong,
    all_of,
    answering,
    begin,
    cut,
    has,
    images,
    in_mlflow,
    listening,
    mine,
    no_mounts,
    nothing,
    ray_with,
    running,
    said_apart,
)

from lca_sweep import cli
from lca_sweep.sweep import cluster

MINE = "data=digits sweep.name=mine sweep.trials=4 'sweep.space.trainer.lr={low: 0.01, high: 0.1}'"
OWN = "--config-dir conf +sweep=mine"
FULL = "data=mnist_full data.dir=data"
TRAIN = "data/train-images-idx3-ubyte.gz"
NO_NET = {"HTTPS_PROXY": "http://<at>", "HTTP_PROXY": "http://<at>", "NO_PROXY": ""}
URI = "tracking.uri=http://<at>"
THERE = "submit +sweep=smoke sweep.dir=/sweeps"
WORDS = [
    Wrong("a blank in a value", "'data.dir=my data['", ("data.dir=my data[: not understood", "quote")),
    Wrong("a sign twice", "trainer.lr==0.1", ("trainer.lr==0.1: not understood", "quote")),
    Wrong("no value", "trainer.lr", ("trainer.lr: not understood", "NAME=VALUE")),
    Wrong("no name", "=3", ("=3: not understood", "NAME=VALUE")),
    Wrong("a password in what is no word", "'tracking.uri=http://me:hush@host/a['", ("http://me:***@host", "quote")),
    Wrong("a knob misspelled", "trainer.l=1", ("trainer.l: no such knob", "'trainer.lr'")),
    Wrong("a group misspelled", "modle=paper", ("modle: no such knob", "'model'")),
    Wrong("a knob of no kind", "xyzzy=1", ("xyzzy: no such knob", "--cfg job")),
    Wrong("a choice misspelled", "model=papr", ("model=papr: no such choice of model", "'paper'")),
    Wrong("a sweep misspelled", "+sweep=mnsit", ("+sweep=mnsit: no such sweep", "'mnist'", "there are: ")),
    Wrong("a sweep without its plus", "sweep=mnist", ("sweep=mnist: write +sweep=mnist",)),
    Wrong("a command misspelled", "staus mine", ("staus: not understood", "'status'")),
    Wrong("no command at all", "hello", ("hello: not understood", "NAME=VALUE", "doctor")),
    Wrong("a choice alone", "mnist", ("mnist: not understood", "data=mnist", "+sweep=mnist")),
    Wrong("an unknown flag", "--frobnicate", ("--frobnicate", "--help")),
    Wrong("Hydra's multirun", "-m trainer.lr=1,2", ("--multirun", "sweep.space")),
    Wrong("two values", "trainer.lr=0.1,0.2", ("trainer.lr=0.1,0.2: must be one value", "sweep.space.trainer.lr")),
    Wrong("a knob taken out", "'~trainer.lr'", ("~trainer.lr: a knob cannot be taken out", "only set")),
    Wrong("something of Hydra's", "hydra.run.dir=x", ("hydra.run.dir=x: there is nothing of Hydra's", "--config-dir")),
    Wrong("JSON of a run", "+sweep=smoke --json", ("--json", "--help")),
]
KNOBS = [
    Wrong("no number", "trainer.epochs=abc", ("trainer.epochs=abc: must be a whole number, >= 1",)),
    Wrong("half an epoch", "trainer.epochs=2.5", ("trainer.epochs=2.5: must be a whole number, >= 1",)),
    Wrong("a list for a number", "'trainer.lr=[1]'", ("trainer.lr=[1]: must be a number, > 0",)),
    Wrong("a number for a list", "model.widths=3", ("model.widths=3: must be a list",)),
    Wrong("a wrong one in a list", "'model.widths=[1,a]'", ("model.widths[1]=a: must be a whole number",)),
    Wrong("a value for a group", "init=3", ("init=3: init is a group of knobs", "init.spike")),
    Wrong("null", "trainer.epochs=null", ("trainer.epochs=null: must not be null",)),
    Wrong("not set", "trainer.lr=???", ("trainer.lr=???: must be set",)),
    Wrong("too small", "trainer.lr=-1", ("trainer.lr=-1.0: must be > 0",)),
    Wrong("too large", "init.spike=1.5", ("init.spike=1.5: must be >= 0 and <= 1",)),
    Wrong("not a number", "trainer.lr=nan", ("trainer.lr=nan: must be",)),
    Wrong("none of the choices", "prior.kind=l2", ("prior.kind=l2: must be one of kl, none",)),
    Wrong("bp with a prior", "trainer=bp prior=sparse", ("prior.weight=1.0", "trainer.algorithm=bp", "must be 0")),
    Wrong("halving of one", "pruner=halving pack.size=1", ("pack.size=1: pruner=halving", "must be >= pruner.eta=2")),
    Wrong("another pruner's knob", "pruner=median pruner.eta=3", ("pruner.eta=3: has no effect", "halving")),
    Wrong("another sampler's knob", "search.sampler=random search.tpe.candidates=9", ("search.tpe.candidates=9",)),
    Wrong(
        "a precision that CPUs have not",
        "trainer.precision=tf32 cluster.gpus_per_pack=0",
        ("trainer.precision=tf32: only a GPU has it", "must be float32 with cluster.gpus_per_pack=0"),
    ),
    Wrong("half a GPU too many", "cluster.gpus_per_pack=1.5", ("cluster.gpus_per_pack=1.5: must be a whole number",)),
    Wrong("an empty name", "sweep.name=", ("sweep.name=: must not be empty",)),
    Wrong("a name with a slash", "sweep.name=a/b", ("sweep.name=a/b: must be letters, digits",)),
    Wrong("knobs of an interpolation", "'trainer.lr=${trainer.rate}'", ("trainer.lr", "trainer.rate: no such knob")),
]
SPACES = [
    Wrong(
        "low above high", "'sweep.space.trainer.lr={low: 3, high: 2}'", ("sweep.space.trainer.lr: low=3.0 is above",)
    ),
    Wrong("outside the range", "'sweep.space.init.spike={low: 0, high: 2}'", ("sweep.space.init.spike.high=2", "<= 1")),
    Wrong(
        "log from 0", "'sweep.space.init.spike={low: 0, high: 1, log: true}'", ("sweep.space.init.spike", "log", "0")
    ),
    Wrong("log with steps", "'sweep.space.trainer.lr={low: 1, high: 2, log: true, step: 1}'", ("trainer.lr", "step")),
    Wrong("an unknown knob", "'sweep.space.trainer.l={low: 1, high: 2}'", ("sweep.space.trainer.l: no such knob",)),
    Wrong("an unknown word in a range", "'sweep.space.trainer.lr={low: 1, hihg: 2}'", ("hihg", "'high'")),
    Wrong("half a range", "'sweep.space.trainer.lr={low: 1}'", ("sweep.space.trainer.lr", "high")),
    Wrong("no range", "sweep.space.model.width=3", ("sweep.space.model.width=3: must be {low",)),
    Wrong("no choices", "'sweep.space.model.depth.choices=[]'", ("sweep.space.model.depth.choices=[]",)),
    Wrong("a wrong choice", "'sweep.space.trainer.algorithm.choices=[gbp,pb]'", ("choices[1]=pb", "gbp, bp")),
    Wrong("half a unit", "'sweep.space.model.width={low: 1.5, high: 3}'", ("sweep.space.model.width.low=1.5",)),
    Wrong("the sweep's own knob", "'sweep.space.pack.size={low: 1, high: 9}'", ("sweep.space.pack.size", "belongs to")),
    Wrong("nothing is searched", "sweep.trials=8", ("sweep.trials=8: ", "nothing is searched")),
    Wrong("a grid of a range", "+sweep=mnist search=grid", ("sweep.space.trainer.lr: needs choices or step",)),
    Wrong(
        "more than the grid",
        "search=grid sweep.trials=9 'sweep.space.init.seed={low: 0, high: 4}'",
        ("sweep.trials=9: the grid has 5 points",),
    ),
    Wrong("trials without number", "sweep.trials=null", ("sweep.trials=null: must be a whole number", "search=grid")),
    Wrong(
        "a condition on nothing",
        "'sweep.space.prior.weight={low: 0, high: 1, when: {trainer: {algorithm: gbp}}}'",
        ("sweep.space.prior.weight.when.trainer.algorithm: ", "is not searched", "must be a knob of sweep.space"),
    ),
]
GOALS = [
    Wrong("no direction", "'search.objectives=[val/accuracy]'", ("search.objectives=val/accuracy", "maximize")),
    Wrong("an unknown metric", "'search.objectives=[maximize val/acuracy]'", ("val/acuracy", "'val/accuracy'")),
    Wrong("for nothing", "'search.objectives=[]'", ("search.objectives=[]: must name at least one",)),
    Wrong(
        "two of cmaes",
        "search=cmaes 'search.objectives=[maximize val/accuracy, minimize val/loss]' +sweep=mnist",
        ("search.sampler=cmaes takes one", "search=nsga2"),
    ),
    Wrong("a constraint without bound", "'search.constraints=[val/accuracy]'", ("search.constraints", ">=")),
]
FILES = [
    Wrong("no conf folder", "--config-dir nowhere +sweep=mine", ("--config-dir nowhere: no such folder",)),
    Wrong(
        "a bracket is open",
        OWN,
        ("conf/sweep/mine.yaml, line 3: expected ',' or ']'", "while parsing a flow sequence, line 2"),
        mine("sweep: {trials: [3"),
    ),
    Wrong(
        "a tab",
        OWN,
        ("conf/sweep/mine.yaml, line 3: ",),
        mine("sweep:\n\ttrials: 3\n"),
    ),
    Wrong(
        "a key twice",
        OWN,
        ("conf/sweep/mine.yaml, line 3: ", "duplicate key trainer"),
        mine("trainer: {lr: 0.1}\ntrainer: {lr: 0.2}\n"),
    ),
    Wrong(
        "Latin-1",
        OWN,
        ("conf/sweep/mine.yaml: must be text in UTF-8",),
        has("conf/sweep/mine.yaml", "# für mich\n".encode("latin-1")),
    ),
    Wrong(
        "no package line",
        OWN,
        ("conf/sweep/mine.yaml, line 1: must be # @package _global_, as the file has knobs of more",),
        has("conf/sweep/mine.yaml", "trainer: {lr: 0.1}"),
    ),
    Wrong(
        "a list",
        OWN,
        ("conf/sweep/mine.yaml, line 2: must be a tree of knobs, e.g. ",),
        mine("- 3"),
    ),
    Wrong("a number", OWN, ("conf/sweep/mine.yaml, line 2: must be a tree of knobs, e.g. ",), mine("3")),
    Wrong("a number for a group of knobs", OWN, ("conf/sweep/mine.yaml, line 2: must be a tree",), mine("trainer: 3")),
    Wrong(
        "a tree of defaults", OWN, ("defaults list in 'sweep/mine', defaults must be a list",), mine("defaults: {a: b}")
    ),
    Wrong(
        "an interpolation of nothing",
        OWN,
        ("conf/sweep/mine.yaml, line 2: trainer.lr: ", "trainer.rate: no such knob"),
        mine("trainer: {lr: '${trainer.rate}'}\n"),
    ),
    Wrong(
        "a variable that is not set",
        OWN,
        ("conf/sweep/mine.yaml, line 2: sweep.dir: ", "MY_SWEEPS is not set"),
        mine("sweep: {dir: '${oc.env:MY_SWEEPS}'}\n"),
    ),
    Wrong(
        "a default that is not there",
        OWN,
        ("conf/sweep/mine.yaml, line 2: no model/mine.yaml (there are: ", "paper"),
        mine("defaults: [override /model: mine]\n"),
    ),
    Wrong(
        "a default misspelt",
        OWN,
        ("conf/sweep/mine.yaml, line 3: no pruner/halfing.yaml; did you mean 'halving'?",),
        mine("defaults:\n- override /pruner: halfing\n"),
    ),
    Wrong(
        "another package line",
        OWN,
        ("conf/sweep/mine.yaml, line 2: must be # @package _global_",),
        has("conf/sweep/mine.yaml", "# mine\n# @package global\ndefaults: [override /model: paper]\n"),
    ),
    Wrong(
        "a knob that is searched",
        "+sweep=mnist model.width=50",
        ("model.width=50: model.width is searched", "~sweep.space.model.width"),
    ),
    Wrong("a knob that is searched, in a group", "+sweep=mnist 'model={width: 50}'", ("model.width is searched",)),
    Wrong(
        "no such range",
        "+sweep=mnist '~sweep.space.modle'",
        ("~sweep.space.modle: there is no such range", "'sweep.space.model'"),
    ),
    Wrong("help for nothing", "help shwo", ("help shwo: must be help, or help COMMAND", "'show'")),
    Wrong(
        "a value out of range",
        OWN,
        ("conf/sweep/mine.yaml, line 2: trainer.lr=-1.0: must be > 0",),
        mine("trainer: {lr: -1}\n"),
    ),
    Wrong("cluster=ray without its address", "cluster=ray data=digits", ("RAY_ADDRESS is not set; set it",)),
]
DATA = [
    Wrong(
        "an unknown data set", "data.name=mnits", ("data.name=mnits: must be one of mnist, ", "did you mean 'mnist'?")
    ),
    Wrong("a folder that is not needed", "data=mnist data.dir=x", ("data.dir=x: mnist needs no files", "null")),
    Wrong("a file for a folder", FULL, ("data.dir=data: is no folder",), has("data")),
    Wrong(
        "no files and no network",
        FULL,
        (TRAIN, "missing", "no connection", "set data.dir"),
        env=NO_NET,
    ),
    Wrong(
        "no archive and no network",
        "data=cifar10 data.dir=data",
        ("missing", "no connection", "set data.dir"),
        env=NO_NET,
    ),
    Wrong("no gzip", FULL, (TRAIN, "broken gzip", "delete it"), has(TRAIN, b"abc")),
    Wrong(
        "cut short",
        FULL,
        (TRAIN, "broken gzip", "delete it"),
        has(TRAIN, images(100)[:60]),
    ),
    Wrong(
        "too few images",
        FULL,
        (TRAIN, "100 x 28 x 28", "must be 60000 x 28 x 28", "delete it"),
        has(TRAIN, images(100)),
    ),
    Wrong("other images", FULL, (TRAIN, "SHA-256", "delete it"), has(TRAIN, images(60_000))),
    Wrong(
        "an archive that is none",
        "data=cifar10 data.dir=data",
        ("data/cifar-10-binary.tar.gz: has 3 bytes, must have", "delete it"),
        has("data/cifar-10-binary.tar.gz", b"abc"),
    ),
    Wrong("too many asked for", "trainer.train_size=20000", ("trainer.train_size=20000", "10000", "must be <= 10000")),
    Wrong(
        "a batch above all",
        "trainer.train_size=100 trainer.batch_size=200",
        ("trainer.batch_size=200: must be <= trainer.train_size=100",),
    ),
]
PLACES = [
    Wrong("a file for sweep.dir", "data=digits sweep.dir=here", ("sweep.dir=here", "must be a folder"), has("here")),
    Wrong(
        "a file above sweep.dir",
        "data=digits sweep.dir=here/below",
        ("sweep.dir=here/below", "must be a folder"),
        has("here"),
    ),
    Wrong(
        "a file for sweep.storage",
        "data=digits sweep.storage=here",
        ("sweep.storage=here", "must be a folder"),
        has("here"),
    ),
    Wrong(
        "a full disk",
        "data=digits sweep.dir=small",
        ("sweep.dir=small: cannot write to ", "small: No space left on device"),
        has("small/x"),
        shell="mount -t tmpfs -o size=4k tmpfs small; head -c 4096 /dev/zero > small/x",
    ),
    Wrong(
        "a disk for reading only",
        "data=digits sweep.dir=small",
        ("sweep.dir=small: ", "small must be a folder that one can write to"),
        has("small/x"),
        shell="mount -t tmpfs -o ro tmpfs small",
    ),
    Wrong(
        "a full disk for MLflow",
        "data=digits tracking.uri=sqlite:///small/mlflow.db",
        ("tracking.uri=sqlite:///small/mlflow.db: ", "small: No space left on device", "must be"),
        has("small/x"),
        shell="mount -t tmpfs -o size=4k tmpfs small; head -c 4096 /dev/zero > small/x",
    ),
    Wrong(
        "a table that is missing", MINE + " search.enqueue_csv=no.csv", ("search.enqueue_csv=no.csv", "No such file")
    ),
    Wrong(
        "a table of other knobs",
        MINE + " search.enqueue_csv=my.csv",
        ("search.enqueue_csv=my.csv", "trainer.rate"),
        has("my.csv", "trainer.rate\n0.1\n"),
    ),
    Wrong(
        "a point out of range",
        MINE + " 'search.enqueue=[{trainer: {lr: 7}}]'",
        ("search.enqueue[0]", "trainer.lr=7", "from 0.01 to 0.1"),
    ),
]
SWEEPS = [
    Wrong("locked", MINE, ("sweeps/mine", "is being run by process", "stop mine"), running, MINE),
    Wrong(
        "one other knob",
        MINE + " pack.size=2",
        ("sweep.name=mine", "pack.size: 8 -> 2", "sweep.resume=never"),
        begun=MINE,
    ),
    Wrong(
        "other knobs",
        MINE + " pack.size=2 model.width=9",
        ("sweep.name=mine", "  model.width: 100 -> 9", "  pack.size: 8 -> 2", "sweep.resume=never", "what may change"),
        begun=MINE,
        lines=5,  # it names each knob
    ),
    Wrong(
        "half a sweep.json",
        MINE,
        ("sweeps/mine/sweep.json: cannot be read", "sweep.name"),
        cut("sweeps/mine/sweep.json", 40),
        MINE,
    ),
    Wrong(
        "an empty sweep.json",
        MINE,
        ("sweeps/mine/sweep.json: cannot be read", "sweep.name"),
        has("sweeps/mine/sweep.json"),
        MINE,
    ),
    Wrong(
        "a study that is damaged",
        MINE,
        ("sweeps/mine/study.journal, line 1: is damaged", "copy", "sweep.resume=never"),
        all_of(in_mlflow(), has("sweeps/mine/study.journal", "abc\n")),
        MINE,
        apart=True,
    ),
    Wrong(
        "a study of other things",
        MINE,
        ("sweeps/mine/study.journal: is damaged", "copy", "sweep.resume=never"),
        all_of(in_mlflow(), has("sweeps/mine/study.journal", "{}\n")),
        MINE,
        apart=True,
    ),
    Wrong(
        "an earlier sweep of nobody",
        MINE + " search.warm_start=yours",
        ("search.warm_start=yours: no sweep of that name in sweeps",),
    ),
    Wrong(
        "itself as an earlier sweep",
        MINE + " search.warm_start=mine",
        ("search.warm_start=mine: is this sweep itself", "earlier"),
    ),
    Wrong("best of which", MINE + " search.warm_start_best=2", ("search.warm_start_best=2: of which sweep?",)),
]
MLFLOW = [
    Wrong("nobody listens", f"data=digits {URI}", (URI, "no answer", "refused", "must be a store that can be reached")),
    Wrong(
        "no port", "data=digits tracking.uri=http://host:port", ("tracking.uri=http://host:port: ", "port", "must be")
    ),
    Wrong("nothing", "tracking.uri=", ("tracking.uri=: must not be empty",)),
    Wrong(
        "a file above it",
        "data=digits tracking.uri=sqlite:///here/mlflow.db",
        ("here: Not a directory", "must be"),
        has("here"),
    ),
    Wrong("a folder of runs", "data=digits tracking.uri=mlruns", ("tracking.uri=mlruns", "sqlite:///mlflow.db")),
    Wrong("no kind of store", "data=digits tracking.uri=nosuch://x", ("tracking.uri=nosuch://x", "no such kind")),
    Wrong(
        "no database",
        "data=digits",
        ("tracking.uri=sqlite:///mlflow.db: file is not a database; must be one",),
        has("mlflow.db", "words " * 99),
    ),
    Wrong(
        "a password in the address",
        "data=digits tracking.uri=http://me:hush@<at>",
        ("http://***@", "MLFLOW_TRACKING_PASSWORD"),
    ),
    Wrong(
        "a newer MLflow's database",
        MINE,
        ("tracking.uri=sqlite:///mlflow.db: is of another version of MLflow (schema f00d", "mlflow db upgrade"),
        in_mlflow("UPDATE alembic_version SET version_num = 'f00d'"),
        MINE,
        apart=True,
    ),
    Wrong(
        "an experiment that was deleted",
        MINE,
        ("tracking.experiment=lca_sweep: was deleted; must be another name", "mlflow experiments restore"),
        in_mlflow("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'lca_sweep'"),
        MINE,
        apart=True,
    ),
    Wrong(
        "no server of a database",
        f"{MINE} tracking.uri=postgresql+psycopg://me:hush@<at>/x",
        ("tracking.uri=postgresql+psycopg://me:***@<at>/x", "refused"),
        begun=f"{MINE} tracking.uri=postgresql+psycopg://me:hush@<at>/x",
        apart=True,
    ),
    Wrong("not MLflow", f"{MINE} {URI}", (URI, "HTTP 404"), answering(404), f"{MINE} {URI}"),
    Wrong("who are you", f"{MINE} {URI}", (URI, "MLFLOW_TRACKING_USERNAME"), answering(401), f"{MINE} {URI}"),
    Wrong("not you", f"{MINE} {URI}", (URI, "denied", "MLFLOW_TRACKING_USERNAME"), answering(403), f"{MINE} {URI}"),
    Wrong("unwell", f"{MINE} {URI}", (URI, "HTTP 500"), answering(500), f"{MINE} {URI}"),
]
STUDIES = [
    Wrong(
        "no kind of database",
        "data=digits search.storage=nosuch://x",
        ("search.storage=nosuch://x", "no such kind", "sqlite:///study.db"),
    ),
    Wrong("no URL", "data=digits search.storage=study.db", ("search.storage=study.db", "sqlite:///study.db")),
    Wrong(
        "no driver",
        "data=digits search.storage=mysql+nodriver://me:hush@<at>/x",
        ("search.storage=mysql+nodriver://me:***@",),
    ),
    Wrong(
        "no driver that is known",
        "data=digits search.storage=mysql://me:hush@<at>/x",
        ("search.storage=mysql://me:***@", "not installed"),
    ),
    Wrong(
        "nobody listens there",
        "data=digits search.storage=postgresql+psycopg://me:hush@<at>/x",
        ("search.storage=postgresql+psycopg://me:***@", "refused"),
    ),
    Wrong(
        "no folder for it",
        "data=digits search.storage=sqlite:///no/study.db",
        ("search.storage=sqlite:///no/study.db", "must be a file in a folder that is there"),
    ),
    Wrong(
        "not a database",
        "data=digits search.storage=sqlite:///study.db",
        ("search.storage=sqlite:///study.db", "not a database; must be one"),
        has("study.db", "words " * 99),
    ),
]
STORAGES = [
    Wrong(
        "another cloud",
        "sweep.storage=gs://bucket/path",
        ("sweep.storage=gs://bucket/path: must be a folder or s3://bucket/path",),
    ),
    Wrong("no bucket", "sweep.storage=s3:///path", ("sweep.storage=s3:///path: must be a folder or s3://bucket/path",)),
    Wrong(
        "keys in the address",
        "sweep.storage=s3://key:hush@bucket/path",
        ("sweep.storage: no keys in the URL", "AWS_ACCESS_KEY_ID"),
    ),
    Wrong("an unknown option", "'sweep.storage=\"s3://bucket/path?regoin=x\"'", ("sweep.storage: ?regoin=", "region")),
    Wrong(
        "nobody keeps it",
        "data=digits sweep.storage=s3://bucket/path",
        ("sweep.storage=s3://bucket/path: not reachable",),
        env={"AWS_ENDPOINT_URL": "http://<at>", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hush"},
        apart=True,
    ),
    Wrong(
        "no key",
        "data=digits sweep.storage=s3://bucket/path",
        ("sweep.storage=s3://bucket/path: access denied",),
        answering(403),
        env={"AWS_ENDPOINT_URL": "http://<at>", "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "x"},
        apart=True,
    ),
]
CLUSTERS = [
    Wrong(
        "nobody is there",
        "data=digits cluster.address=<at>",
        ("cluster.address=<at>", "refused", "must be one that runs"),
    ),
    Wrong(
        "Ray Client", "data=digits cluster.address=ray://head:10001", ("cluster.address=ray://head:10001", "HOST:6379")
    ),
    Wrong("which one", "data=digits cluster.address=auto", ("cluster.address=auto: RAY_ADDRESS is not set",)),
    Wrong(
        "whatever runs here",
        "data=digits cluster.address=auto",
        ("RAY_ADDRESS=auto: must be HOST:PORT of a cluster",),
        env={"RAY_ADDRESS": "auto"},
    ),
    Wrong(
        "an open one",
        "data=digits cluster.address=auto",
        ("RAY_ADDRESS=local: must be HOST:PORT of a cluster",),
        env={"RAY_ADDRESS": "local"},
    ),
    Wrong(
        "nonsense",
        "data=digits cluster.address=somewhere",
        ("cluster.address=somewhere: must be local, auto, or HOST:PORT",),
    ),
    Wrong(
        "a GPU's precision without one",
        "data=digits trainer.precision=tf32",
        ("trainer.precision=tf32: only a GPU has it; must be float32 on CPUs",),
        apart=True,
    ),
    Wrong(
        "more GPUs than there are",
        "data=digits cluster.gpus_per_pack=64",
        ("cluster.gpus_per_pack=64: the largest machine has ", "GPUs; must be <= "),
        apart=True,
    ),
    Wrong(
        "more CPUs than there are",
        "data=digits cluster.cpus_per_pack=9999",
        ("cluster.cpus_per_pack=9999: the largest machine has ", "CPUs; must be <= "),
        apart=True,
    ),
    Wrong(
        "another Ray",
        "data=digits cluster.address=<at>",
        ("cluster.address=<at>: Ray does not connect: it has Ray 2.1.0 ", "must be Ray "),
        ray_with("sitecustomize.py", OTHER_RAY),
        apart=True,
    ),
    Wrong(
        "another lca_sweep",
        "data=digits cluster.address=<at>",
        ("cluster.address=<at>: has lca_sweep 0.0.1; must be ",),
        ray_with("lca_sweep/__init__.py", "__version__ = '0.0.1'"),
        apart=True,
    ),
    Wrong(
        "no lca_sweep",
        "data=digits cluster.address=<at>",
        ("cluster.address=<at>: lca_sweep is not installed on its machines",),
        ray_with("lca_sweep.py", "raise ModuleNotFoundError('No module named lca_sweep')"),
        apart=True,
    ),
]
COMMANDS = [
    Wrong("stop nobody", "stop mina", ("stop mina: no sweep of that name in sweeps", "'mine'"), begun=MINE),
    Wrong("stop one that is over", "stop mine", ("stop mine: nobody runs it",), begun=MINE),
    Wrong("status of nobody", "status mina", ("status mina: no sweep of that name in sweeps", "'mine'"), begun=MINE),
    Wrong("status of nothing", "status", ("status: no sweeps in sweeps",)),
    Wrong("show of nobody", "show mina 0", ("show mina: no sweep of that name in sweeps", "'mine'"), begun=MINE),
    Wrong("show of no trial", "show mine 17", ("show mine 17: no such trial", "it has trials 0 to 1"), begun=MINE),
    Wrong("show of no number", "show mine first", ("show: first: must be a whole number >= 0",), begun=MINE),
    Wrong("resume nobody", "resume mina", ("resume mina: no sweep of that name in sweeps", "'mine'"), begun=MINE),
    Wrong("resume of nothing", "resume", ("resume: no sweep in sweeps was interrupted",)),
    Wrong(
        "resume with another knob",
        "resume mine pack.size=3",
        ("resume: pack.size=3: not for this command, which takes ",),
        begun=MINE,
    ),
    Wrong("report of nobody", "report mina", ("report mina: no sweep of that name in sweeps", "'mine'"), begun=MINE),
    Wrong("compare with nobody", "compare mine yours", ("compare yours: no sweep of that name in sweeps",), begun=MINE),
    Wrong("compare with nothing", "compare mine", ("compare: write compare A B",), begun=MINE),
    Wrong(
        "enqueue for nobody",
        "enqueue mina trainer.lr=0.1",
        ("enqueue mina: no sweep of that name", "'mine'"),
        begun=MINE,
    ),
    Wrong(
        "enqueue out of range",
        "enqueue mine trainer.lr=7",
        ("enqueue mine: trainer.lr=7.0: must be a number from 0.01 to 0.1",),
        begun=MINE,
    ),
    Wrong("set of nobody", "set mina trials=9", ("set mina: ", "'mine'"), begun=MINE),
    Wrong("set what is over", "set mine trials=9", ("set mine: nobody runs it", "sweep.trials=9"), begun=MINE),
    Wrong("set to nothing", "set mine trials=0", ("set: trials=0: must be a whole number >= 1",), begun=MINE),
    Wrong("ui of nothing", "ui", ("tracking.uri=sqlite:///mlflow.db: no store at ", "first sweep")),
    Wrong(
        "ui at a port that is taken",
        "ui --port <port> tracking.uri=sqlite:///my.db",
        ("--port <port>: cannot be had", "next free one"),
        all_of(has("my.db"), listening),
    ),
    Wrong(
        "ui of no database",
        "ui tracking.uri=sqlite:///my.db",
        ("tracking.uri=sqlite:///my.db: file is not a database; must be one",),
        has("my.db", "words " * 99),
    ),
    Wrong("ui at no port", "ui --port 70000", ("ui: --port 70000: must be a whole number >= 1 and <= 65535",)),
    Wrong(
        "submit nowhere",
        f"{THERE} tracking.uri=http://mlflow:5000",
        ("submit: RAY_API_SERVER_ADDRESS=: must be like http://HOST:8265",),
    ),
    Wrong(
        "submit to nobody",
        f"{THERE} tracking.uri=http://mlflow:5000 --address http://<at>",
        ("submit: http://<at>: no Ray cluster answers there",),
    ),
    Wrong(
        "submit to no port",
        f"{THERE} tracking.uri=http://mlflow:5000 --address http://host:port",
        ("submit: http://host:port: no Ray cluster answers there", "must be one that runs"),
    ),
    Wrong(
        "submit a password", f"{THERE} tracking.uri=http://me:hush@mlflow:5000", ("no password may be in what is sent",)
    ),
    Wrong("stop as JSON", "stop mine --json", ("stop: write stop NAME",), begun=MINE),
    Wrong(
        "a damaged sweep.json",
        "status mine",
        ("status mine: ", "sweeps/mine/sweep.json cannot be read", "copy"),
        has("sweeps/mine/sweep.json", "{"),
        MINE,
    ),
    Wrong(
        "a damaged study",
        "show mine 0",
        ("study.journal", "line 1: is damaged"),
        has("sweeps/mine/study.journal", "abc\n"),
        MINE,
    ),
    Wrong("doctor of wrong words", "doctor trainer.l=1", ("trainer.l: no such knob", "'trainer.lr'")),
]

TABLE = [
    *(WORDS + KNOBS + SPACES + GOALS),
    *(FILES + DATA + PLACES + SWEEPS),
    *(MLFLOW + STUDIES + STORAGES + CLUSTERS + COMMANDS),
]
DEBUGGED = ("a knob misspelled", "low above high", "a tab", "cut short", "half a sweep.json", "no port", "stop nobody")


def found(folder: Path) -> dict[str, bytes | None]:
    """All that is there; of a lock only that it is, for its owner gives signs of life."""
    there = sorted(folder.rglob("*"))
    return {str(path): path.read_bytes() if path.is_file() and path.name != "lock" else None for path in there}


def let_through(address: str) -> None:
    pytest.fail(f"nothing is refused, and Ray would be started at {address}")


class Place:
    """A working folder in which something is wrong, and a port."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.port, self.capsys = folder, free_port(), capsys
        monkeypatch.chdir(folder)
        monkeypatch.setattr(cluster, "_connect", let_through)
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
        self.monkeypatch = monkeypatch

    def filled(self, text: str, host: str = "127.0.0.1") -> str:
        """With the address in its place."""
        return text.replace("<at>", f"{host}:{self.port}").replace("<port>", str(self.port))

    def said(self, wrong: Wrong, *more: str) -> tuple[Ended, str]:
        """What is said of it, and on which host `<at>` is; nothing may have changed."""
        env = {name: self.filled(value) for name, value in wrong.env.items()}
        if wrong.begun and not (self.folder / "sweeps").exists():
            begin(shlex.split(self.filled(wrong.begun)), self.folder)
        with (wrong.made or nothing)(self.folder, self.port) as host:
            words = [*shlex.split(self.filled(wrong.words, host)), *more]
            before = found(self.folder)
            if wrong.apart or wrong.shell:
                ended = said_apart(words, self.folder, env, wrong.shell)
            else:
                ended = self._said_here(words, env)
            assert found(self.folder) == before
        return ended, host

    def _said_here(self, words: list[str], env: dict[str, str]) -> Ended:
        with self.monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            self.capsys.readouterr()
            code = cli.main(words)
        return Ended(code, *self.capsys.readouterr())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, monkeypatch, capsys)


def cases() -> list[Any]:
    """Those with a process of their own are slow."""
    return [pytest.param(one, id=one.name, marks=[pytest.mark.slow] * (one.apart or bool(one.shell))) for one in TABLE]


def test_there_are_sixty_and_each_is_another() -> None:
    told = {(one.words, one.made, one.shell, *one.env.items()) for one in TABLE}
    assert len({one.name for one in TABLE}) == len(told) == len(TABLE)
    assert len(TABLE) >= 60 and {one.name for one in TABLE} >= set(DEBUGGED)


@pytest.mark.parametrize("wrong", cases())
def test_a_wrong_input(wrong: Wrong, place: Place) -> None:
    if wrong.shell and (why := no_mounts()):
        pytest.skip(why)
    ended, host = place.said(wrong)
    lines = ended.err.splitlines()
    assert ended.code == 2
    assert 1 <= len(lines) <= wrong.lines and ended.err.startswith("lca_sweep: "), ended.err
    assert max(map(len, lines)) <= 250 + len(str(place.folder)), "bearable, wherever the folder is"
    assert [part for part in wrong.told if place.filled(part, host) not in ended.err] == [], ended.err
    assert "Traceback" not in ended.err and "hush" not in ended.err + ended.out
    assert set(ended.out.splitlines()) <= {"starting Ray", "starting the MLflow UI"}, "only what takes seconds"


@pytest.mark.parametrize("wrong", [pytest.param(one, id=one.name) for one in TABLE if one.name in DEBUGGED])
def test_all_of_the_traceback_with_debug(wrong: Wrong, place: Place) -> None:
    """It begins where the words came in, goes down to what was wrong, and ends with what one sees without it."""
    plain, _ = place.said(wrong)
    debugged, _ = place.said(wrong, "debug=true")
    assert debugged.code == plain.code and debugged.err.endswith(plain.err)
    traceback = debugged.err.removesuffix(plain.err)
    assert traceback.startswith("Traceback (most recent call last):\n") and "cli.py" in traceback
    assert traceback.splitlines()[-1].endswith(plain.err.removeprefix("lca_sweep: ").splitlines()[-1])


def test_a_cause_is_in_the_traceback(place: Place) -> None:
    """What Python said of the file, which the line tells in other words."""
    (wrong,) = [one for one in DATA if one.name == "no gzip"]
    ended, _ = place.said(wrong, "debug=true")
    assert "BadGzipFile" in ended.err and "The above exception was the direct cause" in ended.err
