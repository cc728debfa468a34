# %% [markdown]
# # Credit assignment in a few minutes
# The trainer as a library: no sweep, no server. Run it as a script, `python docs/example.py`, or cell by cell in an
# editor that knows `# %%`. It trains two networks side by side on MNIST, which comes with the package: the paper's, and
# one of a quarter of its units. Then it asks which of their weights matter.

# %% Two trials in one pack
from lca_sweep.core import Model, Pack, Trainer, Trial, TrialKnobs, fit, load, perturb, score_ensemble

EPOCHS = 15

data = load("mnist")
widths = (100, 25)
trials = [
    Trial(number, TrialKnobs(model=Model(width=width), trainer=Trainer(epochs=EPOCHS)))
    for number, width in enumerate(widths)
]
pack = Pack.start(trials, data.inputs, data.classes)

# %% Training: `fit` yields a report for each epoch
for report in fit(pack, data):
    if report.epoch % 5 == 0:
        for trial in report.trials:
            m = trial.metrics  # accuracies, losses, and fractions overall and by layer
            shares = "  ".join(f"{c.upper()} {m[f'weights/{c}_fraction']:.3f}" for c in ("vip", "uip", "var"))
            print(f"epoch {report.epoch:3}  width {widths[trial.trial]:3}  accuracy {m['val/accuracy']:.4f}  {shares}")

# %% The ensemble: sub-networks one by one, and averaged
networks = [trial.network for trial in report.trials]  # the last report has them
for width, network in zip(widths, networks, strict=True):
    (score,) = score_ensemble([network], data.test, data.scale, draws=50, seeds=[0])
    alone = sum(score.subnetworks) / len(score.subnetworks)
    print(f"width {width}: sub-networks {alone:.4f} each, {score.averaged:.4f} averaged, mean {score.mean_network:.4f}")

# %% Which weights matter? Perturb those of one category in the first layer
damage = perturb(networks[0], data.test, data.scale, seed=0, layers=[1], fractions=(0.0, 1.0), repeats=3)
for arm, accuracy in zip(
    ("VIP deleted", "UIP replaced", "as many VAR deleted", "as many deleted at random"),
    damage.accuracy[0].mean(axis=-1),
    strict=True,
):
    print(f"{arm:>26}: {accuracy[0]:.4f} -> {accuracy[1]:.4f}")
