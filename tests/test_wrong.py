"""All that one can do wrong, in one table: the user sees one to three lines, and nothing is half made."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from sweep_helpers import free_port
from wrong_helpers import Wrong, answering, begin, damaged, has, images, listening, mine, nothing, running

from lca_sweep import cli
from lca_sweep.sweep import cluster

GLOBAL = "# @package _global_\n"
MINE = "data=digits sweep.name=mine sweep.trials=4 'sweep.space.trainer.lr={low: 0.01, high: 0.1}'"

WORDS = [
    Wrong("a blank in a value", "'data.dir=my data['", ("data.dir=my data[: not understood", "quote")),
    Wrong("a sign twice", "trainer.lr==0.1", ("trainer.lr==0.1: not understood", "quote")),
    Wrong("no value", "trainer.lr", ("trainer.lr: not understood", "NAME=VALUE")),
    Wrong("no name", "=3", ("=3: not understood", "NAME=VALUE")),
    Wrong("a password in what is no word", "'tracking.uri=http://me:hush@host/a b'", ("not understood", "quote")),
    Wrong("a knob misspelled", "trainer.l=1", ("trainer.l: no such knob", "'trainer.lr'")),
    Wrong("a group misspelled", "modle=paper", ("modle: no such knob", "'model'")),
    Wrong("a knob of no kind", "xyzzy=1", ("xyzzy: no such knob", "--cfg job")),
    Wrong("a choice misspelled", "model=papr", ("model=papr: no such choice of model", "'paper'")),
    Wrong("a sweep misspelled", "+sweep=mnsit", ("+sweep=mnsit: no such sweep", "'mnist'", "there are: ")),
    Wrong("a sweep without its plus", "sweep=mnist", ("sweep=mnist: write +sweep=mnist",)),
    Wrong("a command misspelled", "staus mine", ("staus: not understood", "'status'")),
    Wrong("no command at all", "frobnicate", ("frobnicate: not understood", "NAME=VALUE", "doctor")),
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
    Wrong("half a GPU too many", "cluster.gpus_per_pack=1.5", ("cluster.gpus_per_pack=1.5: must be a whole number",)),
    Wrong("a name with a slash", "sweep.name=a/b", ("sweep.name=a/b: must be letters, digits",)),
    Wrong("knobs of an interpolation", "'trainer.lr=${trainer.rate}'", ("trainer.lr", "trainer.rate: no such knob")),
]
SPACES = [
    Wrong("low above high", "'sweep.space.trainer.lr={low: 3, high: 2}'", ("sweep.space.trainer.lr: low=3.0 is above",)),
    Wrong("outside the range", "'sweep.space.init.spike={low: 0, high: 2}'", ("sweep.space.init.spike.high=2", "<= 1")),
    Wrong("log from 0", "'sweep.space.init.spike={low: 0, high: 1, log: true}'", ("sweep.space.init.spike", "log", "0")),
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
        "'sweep.space.prior.weight={low: 0, high: 1, when: {trainer: {algorithm: pgb}}}'",
        ("sweep.space.prior.weight.when.trainer.algorithm=pgb",),
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
        "--config-dir conf +sweep=mine",
        ("conf/sweep/mine.yaml, line 2: ",),
        mine(GLOBAL + "sweep: {trials: [3\n"),
    ),
    Wrong(
        "a tab",
        "--config-dir conf +sweep=mine",
        ("conf/sweep/mine.yaml, line 3: ",),
        mine(GLOBAL + "sweep:\n\ttrials: 3\n"),
    ),
    Wrong(
        "a key twice",
        "--config-dir conf +sweep=mine",
        ("conf/sweep/mine.yaml, line 3: ", "duplicate key trainer"),
        mine(GLOBAL + "trainer: {lr: 0.1}\ntrainer: {lr: 0.2}\n"),
    ),
    Wrong(
        "Latin-1",
        "--config-dir conf +sweep=mine",
        ("conf/sweep/mine.yaml: must be text in UTF-8",),
        has("conf/sweep/mine.yaml", "# für mich\n".encode("latin-1")),
    ),
    Wrong(
        "no package line",
        "--config-dir conf +sweep=mine",
        ("conf/sweep/mine.yaml, line 1: sweep.trainer: no such knob", "# @package _global_"),
        mine("trainer: {lr: 0.1}\n"),
    ),
    Wrong(
        "a list",
        "--config-dir conf +sweep=mine",
        ("conf/sweep/mine.yaml",),
        mine(GLOBAL + "- 3\n"),
    ),
    Wrong(
        "an interpolation of nothing",
        "--config-dir conf +sweep=mine",
        ("conf/sweep/mine.yaml, line 2: trainer.lr: ", "trainer.rate: no such knob"),
        mine(GLOBAL + "trainer: {lr: '${trainer.rate}'}\n"),
    ),
    Wrong(
        "a variable that is not set",
        "--config-dir conf +sweep=mine",
        ("conf/sweep/mine.yaml, line 2: sweep.dir: ", "MY_SWEEPS is not set"),
        mine(GLOBAL + "sweep: {dir: '${oc.env:MY_SWEEPS}'}\n"),
    ),
    Wrong(
        "a default that is not there",
        "--config-dir conf +sweep=mine",
        ("no conf file model/mine.yaml", "there are: ", "paper"),
        mine(GLOBAL + "defaults: [override /model: mine]\n"),
    ),
    Wrong(
        "a value out of range",
        "--config-dir conf +sweep=mine",
        ("conf/sweep/mine.yaml, line 2: trainer.lr=-1.0: must be > 0",),
        mine(GLOBAL + "trainer: {lr: -1}\n"),
    ),
    Wrong("cluster=ray without its address", "cluster=ray", ("RAY_ADDRESS",)),
]
TRAIN = "data/train-images-idx3-ubyte.gz"
NO_NET = {"HTTPS_PROXY": "http://127.0.0.1:<port>", "HTTP_PROXY": "http://127.0.0.1:<port>"}
DATA = [
    Wrong("an unknown data set", "data.name=mnits", ("data.name=mnits: must be one of mnist, ",)),
    Wrong("a folder that is not needed", "data=mnist data.dir=x", ("data.dir=x: mnist needs no files", "null")),
    Wrong("a file for a folder", "data=mnist_full data.dir=data", ("data.dir=data: is no folder",), has("data")),
    Wrong(
        "no files and no network",
        "data=mnist_full data.dir=data",
        (TRAIN, "missing", "no connection", "set data.dir"),
        env=NO_NET,
    ),
    Wrong("no archive and no network", "data=cifar10 data.dir=data", ("missing", "set data.dir"), env=NO_NET),
    Wrong("no gzip", "data=mnist_full data.dir=data", (TRAIN, "broken gzip", "delete it"), has(TRAIN, b"abc")),
    Wrong(
        "cut short",
        "data=mnist_full data.dir=data",
        (TRAIN, "broken gzip", "delete it"),
        has(TRAIN, images(100)[:60]),
    ),
    Wrong(
        "too few images",
        "data=mnist_full data.dir=data",
        (TRAIN, "100 x 28 x 28", "must be 60000 x 28 x 28", "delete it"),
        has(TRAIN, images(100)),
    ),
    Wrong("other images", "data=mnist_full data.dir=data", (TRAIN, "SHA-256", "delete it"), has(TRAIN, images(60_000))),
    Wrong(
        "an archive that is none",
        "data=cifar10 data.dir=data",
        ("data/cifar-10-python.tar.gz", "delete it"),
        has("data/cifar-10-python.tar.gz", b"abc"),
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
    Wrong("a table that is missing", MINE + " search.enqueue_csv=no.csv", ("search.enqueue_csv=no.csv", "No such file")),
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
    Wrong("one other knob", MINE + " pack.size=2", ("sweep.name=mine", "pack.size: 8 -> 2", "sweep.resume=never"), begun=MINE),
    Wrong(
        "other knobs",
        MINE + " pack.size=2 model.width=9",
        ("sweep.name=mine", "  model.width: 100 -> 9", "  pack.size: 8 -> 2", "sweep.resume=never", "what may change"),
        begun=MINE,
        lines=5,
    ),
    Wrong("half a sweep.json", MINE, ("sweeps/mine/sweep.json: cannot be read", "sweep.name"), damaged("sweeps/mine/sweep.json", 40), MINE),
    Wrong("an empty sweep.json", MINE, ("sweeps/mine/sweep.json: cannot be read", "sweep.name"), has("sweeps/mine/sweep.json"), MINE),
    Wrong("a study of other things", MINE, ("study.journal, line 1: is damaged", "copy", "sweep.resume=never"), has("sweeps/mine/study.journal", "abc\n"), MINE),
    Wrong("an earlier sweep of nobody", MINE + " search.warm_start=yours", ("search.warm_start=yours: no sweep of that name in sweeps",)),
    Wrong("itself as an earlier sweep", MINE + " search.warm_start=mine", ("search.warm_start=mine: is this sweep itself", "earlier")),
    Wrong("best of which", MINE + " search.warm_start_best=2", ("search.warm_start_best=2: of which sweep?",)),
]
URI = "tracking.uri=http://127.0.0.1:<port>"
MLFLOW = [
    Wrong("nobody listens", f"data=digits {URI}", (URI, "no answer", "refused")),
    Wrong("a folder of runs", "data=digits tracking.uri=mlruns", ("tracking.uri=mlruns", "sqlite:///mlflow.db"), begun=""),
    Wrong("no kind of store", "data=digits tracking.uri=nosuch://x", ("tracking.uri=nosuch://x", "no such kind")),
    Wrong("no database", "data=digits", ("tracking.uri=sqlite:///mlflow.db", "not a database"), has("mlflow.db", "words " * 99)),
    Wrong("a password in the address", "data=digits tracking.uri=http://me:hush@127.0.0.1:<port>", ("http://***@", "MLFLOW_TRACKING_PASSWORD")),
    Wrong("not MLflow", f"{MINE} {URI}", (URI, "HTTP 404"), answering(404), f"{MINE} {URI}"),
    Wrong("who are you", f"{MINE} {URI}", (URI, "MLFLOW_TRACKING_USERNAME"), answering(401), f"{MINE} {URI}"),
    Wrong("not you", f"{MINE} {URI}", (URI, "denied", "MLFLOW_TRACKING_USERNAME"), answering(403), f"{MINE} {URI}"),
    Wrong("unwell", f"{MINE} {URI}", (URI, "HTTP 500"), answering(500), f"{MINE} {URI}"),
]
STUDIES = [
    Wrong("no kind of database", "data=digits search.storage=nosuch://x", ("search.storage=nosuch://x", "no such kind", "sqlite:///study.db")),
    Wrong("no URL", "data=digits search.storage=study.db", ("search.storage=study.db", "sqlite:///study.db")),
    Wrong("no driver", "data=digits search.storage=mysql+nodriver://me:hush@127.0.0.1:<port>/x", ("search.storage=mysql+nodriver://me:***@",)),
    Wrong("no driver that is known", "data=digits search.storage=mysql://me:hush@127.0.0.1:<port>/x", ("search.storage=mysql://me:***@", "not installed")),
    Wrong("nobody listens there", "data=digits search.storage=postgresql+psycopg://me:hush@127.0.0.1:<port>/x", ("search.storage=postgresql+psycopg://me:***@", "refused")),
    Wrong("no folder for it", "data=digits search.storage=sqlite:///no/study.db", ("search.storage=sqlite:///no/study.db", "unable to open")),
    Wrong("not a database", "data=digits search.storage=sqlite:///study.db", ("search.storage=sqlite:///study.db", "not a database"), has("study.db", "words " * 99)),
]
STORAGES = [
    Wrong("another cloud", "sweep.storage=gs://bucket/path", ("sweep.storage=gs://bucket/path: must be a folder or s3://bucket/path",)),
    Wrong("no bucket", "sweep.storage=s3:///path", ("sweep.storage=s3:///path: must be a folder or s3://bucket/path",)),
    Wrong("keys in the address", "sweep.storage=s3://key:hush@bucket/path", ("sweep.storage: no keys in the URL", "AWS_ACCESS_KEY_ID")),
    Wrong("an unknown option", "'sweep.storage=\"s3://bucket/path?regoin=x\"'", ("sweep.storage: ?regoin=", "region")),
]
CLUSTERS = [
    Wrong("nobody is there", "data=digits cluster.address=127.0.0.1:<port>", ("cluster.address=127.0.0.1:<port>", "refused")),
    Wrong("Ray Client", "data=digits cluster.address=ray://head:10001", ("cluster.address=ray://head:10001", "HOST:6379")),
    Wrong("which one", "data=digits cluster.address=auto", ("cluster.address=auto: RAY_ADDRESS is not set",)),
    Wrong("nonsense", "data=digits cluster.address=somewhere", ("cluster.address=somewhere: must be local, auto, or HOST:PORT",)),
]
COMMANDS = [
    Wrong("stop nobody", "stop mina", ("stop mina: no sweep of that name in sweeps", "'mine'"), begun=MINE),
    Wrong("stop one that is over", "stop mine", ("stop mine: nobody runs it",), begun=MINE),
    Wrong("status of nobody", "status mina", ("status mina: no sweep of that name in sweeps", "'mine'"), begun=MINE),
    Wrong("status of nothing", "status", ("status: no sweeps in sweeps",)),
    Wrong("show of nobody", "show mina 0", ("show mina: no sweep of that name in sweeps", "'mine'"), begun=MINE),
    Wrong("show of no trial", "show mine 17", ("show mine: ", "17"), begun=MINE),
    Wrong("show of no number", "show mine best", ("show: best: must be a whole number >= 0",), begun=MINE),
    Wrong("resume nobody", "resume mina", ("resume mina: no sweep of that name in sweeps", "'mine'"), begun=MINE),
    Wrong("resume of nothing", "resume", ("resume: no sweep in sweeps was interrupted",)),
    Wrong("resume with another knob", "resume mine pack.size=3", ("resume: pack.size=3: may only be ",), begun=MINE),
    Wrong("report of nobody", "report mina", ("report mina: no sweep of that name in sweeps", "'mine'"), begun=MINE),
    Wrong("compare with nobody", "compare mine yours", ("compare yours: no sweep of that name in sweeps",), begun=MINE),
    Wrong("compare with nothing", "compare mine", ("compare: write compare A B",), begun=MINE),
    Wrong("enqueue for nobody", "enqueue mina trainer.lr=0.1", ("enqueue mina: no sweep of that name", "'mine'"), begun=MINE),
    Wrong("enqueue out of range", "enqueue mine trainer.lr=7", ("enqueue mine: trainer.lr=7.0: must be a number from 0.01 to 0.1",), begun=MINE),
    Wrong("set of nobody", "set mina trials=9", ("set mina: ", "'mine'"), begun=MINE),
    Wrong("set what is over", "set mine trials=9", ("set mine: nobody runs it", "sweep.trials=9"), begun=MINE),
    Wrong("set to nothing", "set mine trials=0", ("set: trials=0: must be a whole number >= 1",), begun=MINE),
    Wrong("ui of nothing", "ui", ("tracking.uri=sqlite:///mlflow.db: no store at ", "first sweep")),
    Wrong("ui at a port that is taken", "ui --port <port> tracking.uri=sqlite:///my.db", ("--port <port>: cannot be had", "next free one"), lambda folder, port: both(has("my.db"), listening)(folder, port)),
    Wrong("ui at no port", "ui --port 70000", ("ui: --port 70000: must be a whole number >= 1 and <= 65535",)),
    Wrong("submit nowhere", "submit +sweep=smoke sweep.dir=/sweeps tracking.uri=http://mlflow:5000", ("submit: RAY_API_SERVER_ADDRESS=: must be like http://HOST:8265",)),
    Wrong("submit to nobody", "submit +sweep=smoke sweep.dir=/sweeps tracking.uri=http://mlflow:5000 --address http://127.0.0.1:<port>", ("submit: http://127.0.0.1:<port>: no Ray cluster answers there",)),
    Wrong("submit a password", "submit +sweep=smoke sweep.dir=/sweeps tracking.uri=http://me:hush@mlflow:5000", ("no password may be in what is sent",)),
    Wrong("stop as JSON", "stop mine --json", ("stop: write stop NAME",), begun=MINE),
    Wrong("a damaged sweep.json", "status mine", ("status mine: ", "sweeps/mine/sweep.json cannot be read"), has("sweeps/mine/sweep.json", "{"), MINE),
    Wrong("a damaged study", "show mine 0", ("study.journal", "line 1: is damaged"), has("sweeps/mine/study.journal", "abc\n"), MINE),
    Wrong("doctor of wrong words", "doctor trainer.l=1", ("trainer.l: no such knob", "'trainer.lr'")),
]


def both(*parts):
    from contextlib import ExitStack, contextmanager

    @contextmanager
    def made(folder, port):
        with ExitStack() as stack:
            for part in parts:
                stack.enter_context(part(folder, port))
            yield

    return made


TABLE = [*WORDS, *KNOBS, *SPACES, *GOALS, *FILES, *DATA, *PLACES, *SWEEPS, *MLFLOW, *STUDIES, *STORAGES, *CLUSTERS, *COMMANDS]


def found(folder: Path) -> dict[str, bytes | None]:
    """All that is there; of a lock only that it is, for its owner gives signs of life."""
    there = sorted(folder.rglob("*"))
    return {str(path): path.read_bytes() if path.is_file() and path.name != "lock" else None for path in there}


def let_through(address: str) -> None:
    pytest.fail(f"nothing is wrong, and Ray would be started at {address}")


@pytest.mark.parametrize("wrong", TABLE, ids=lambda wrong: wrong.name)
def test_a_wrong_input(wrong: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    port = str(free_port())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "_connect", let_through)
    for name, value in wrong.env.items():
        monkeypatch.setenv(name, value.replace("<port>", port))
    if wrong.begun:
        begin(shlex.split(wrong.begun.replace("<port>", port)), tmp_path)
        capsys.readouterr()
    with (wrong.made or nothing)(tmp_path, int(port)):
        before = found(tmp_path)
        try:
            status = cli.main(shlex.split(wrong.words.replace("<port>", port)))
        except Exception as e:
            import traceback
            traceback.print_exc()
            status = -1
        out, err = capsys.readouterr()
        after = found(tmp_path)
    import json
    bad = []
    if status != wrong.status: bad.append(f"status {status}")
    lines = err.splitlines()
    if not 1 <= len(lines) <= wrong.lines: bad.append(f"{len(lines)} lines")
    if any(len(l) > 250 for l in lines): bad.append(f"long {[len(l) for l in lines]}")
    if not err.startswith("lca_sweep: "): bad.append("start")
    if "Traceback" in err: bad.append("TB")
    if out.replace("starting Ray\n", ""): bad.append("OUT "+out)
    if "hush" in err+out: bad.append("PASSWORD")
    missing = [p for p in wrong.told if p.replace("<port>", port) not in err]
    if missing: bad.append(f"missing {missing}")
    if before != after: bad.append(f"files {sorted(k for k in before.keys()|after.keys() if before.get(k,0)!=after.get(k,0))}")
    with open("/tmp/errors/out.txt", "a") as f:
        f.write(f"{'BAD ' + str(bad) if bad else 'ok'} | {wrong.name} | {wrong.words}\n    {err}")
    assert not bad
