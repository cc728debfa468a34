"""Ray Tune as the runner of packs: no search, no early stopping and no checkpoints of its own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lca_sweep.config import Config
from lca_sweep.core.data import Splits
from lca_sweep.core.errors import first_line
from lca_sweep.sweep.cost import make_pruner
from lca_sweep.sweep.folder import Folder
from lca_sweep.sweep.ledger import Ledger
from lca_sweep.sweep.noise import LOGS
from lca_sweep.sweep.room import Resources
from lca_sweep.sweep.storage import Storage

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


def tune_packs(
    config: Config, data: Splits, folder: Folder, storage: Storage, ledger: Ledger, resources: Resources
) -> None:
    """Let Ray Tune run the ledger's packs until there are none left, or until it is to stop.

    Raises whatever went wrong in the ledger, once the workers have stopped.
    """
    from ray import tune  # after `connected` has set its environment

    from lca_sweep.sweep.trainable import PackPlan, PackTrainable

    plan = PackPlan(
        storage=storage,
        uid=folder.uid,
        pruner=make_pruner(config.pruner),
        padding=config.pack.padding,
        checkpoint_every=config.pack.checkpoint_every,
        threads=config.cluster.cpus_per_pack,
        device=resources.device,
        goal=config.search.goal(),
    )
    trainable = tune.with_resources(
        tune.with_parameters(PackTrainable, data=data, plan=plan), {"cpu": resources.cpus, "gpu": resources.gpus}
    )
    ledger.stopping.start_clock()
    with environment(local=config.cluster.address == "local"):
        repeated(lambda name: _fit(trainable, name, folder, ledger, resources), ledger)
    if ledger.stopping.error:
        raise ledger.stopping.error


@contextmanager
def environment(local: bool) -> Iterator[None]:
    """What Tune sends along with each worker: not the driver's keys to S3, for Ray writes what is sent into its logs.

    A local worker inherits all of it; sent nothing it may be one of the processes that Ray has started beforehand.
    """
    from ray.tune.execution import class_cache

    constants, sent = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.DEFAULT_ENV_VARS = {} if local else constants
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in sent if not local and not name.startswith("AWS_")}
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = constants, sent


def repeated(fit: Callable[[str], bool], ledger: Ledger) -> None:
    """Run Tune, each time under a new name: again where it broke off, or where it was asked for more as it ended."""
    for start in itertools.count():
        whole = fit(f"{time.strftime('%Y%m%d-%H%M%S')}-{start}")
        if whole and (ledger.stopping.due() or not ledger.work_left()):
            return


def _fit(trainable: Any, name: str, folder: Folder, ledger: Ledger, resources: Resources) -> bool:
    """One run of Ray Tune; False if it broke off, with what it trained given back to the ledger."""
    from ray import tune

    from lca_sweep.sweep.searcher import PackCallback, PackScheduler, PackSearcher, SweepStopper

    stopper = SweepStopper(ledger)
    callback = PackCallback(ledger, stopper)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=PackSearcher(ledger),
            scheduler=PackScheduler(),
            num_samples=-1,  # until the searcher has no more
            max_concurrent_trials=None if resources.room else resources.packs,  # the ledger keeps to the room
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name=f"ray-{name}",
            storage_path=str(folder.path / LOGS),
            callbacks=[callback],
            stop=stopper,
            # packs keep their own
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            # the ledger issues a pack that broke again: Tune loses one whose process dies in an awkward moment
            failure_config=tune.FailureConfig(max_failures=0),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except Exception as error:
        # Tune knows no word for a worker that Ray ends in the middle of an epoch because memory runs low
        if "Caught unexpected exception" not in str(error):
            raise
        callback.all_broke(first_line(error.__cause__ or error))
        return False
    return True


def _name(trial: Trial) -> str:
    """A pack that broke is another Tune trial."""
    return f"pack-{trial.config['pack']:04d}-{trial.trial_id}"
