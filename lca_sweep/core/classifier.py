"""A trained network in use: pixels as they are in, class probabilities and their doubt out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lca_sweep.core.data import SOURCES
from lca_sweep.core.ensemble import predict
from lca_sweep.core.errors import UserError
from lca_sweep.core.knobs import Range, require
from lca_sweep.core.network import Network
from lca_sweep.core.rng import Purpose, generator

DRAWS = 100  # sub-networks that are averaged unless told otherwise
NUMBERS = "biufO"  # NumPy's kinds of types whose values may be numbers: not words, times or complex ones


@dataclass(frozen=True)
class Classifier:
    """A network, the largest value that a pixel can have, and the seed that its sub-networks are drawn with."""

    network: Network
    scale: float
    seed: int
    _warned: list[str] = field(default_factory=list, init=False, repr=False, compare=False)  # what was said once

    @staticmethod
    def load(folder: Path) -> Classifier:
        """The classifier that a trial's folder holds (see Network.save); UserError if it cannot be had from there."""
        network, about = Network.load(folder)
        try:
            return Classifier(network, _scale(about["data"]), int(about["knobs"]["init.seed"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder}: trial.json does not tell of the data and the seed: {error!r}") from error

    def probabilities(self, pixels: Any, draws: int = DRAWS, seed: int | None = None) -> dict[str, NDArray[np.float64]]:
        """What `draws` sub-networks say of images, (images, inputs) of pixel values from 0 to `scale`.

        `probability` is that of each class, averaged over the sub-networks, `std` their standard deviation: both
        (images, classes). The same seed (null: the trial's) draws the same sub-networks. Any numbers will do: an array
        of any type, nested lists, a data frame. UserError, in one line, for anything else. Images without a pixel above
        1 were probably scaled already: of them a UserWarning tells, once.
        """
        seed = self.seed if seed is None else seed
        require("seed", seed, Range("seed of the sub-networks", ge=0))
        like = self.network.layers[0].m
        x = torch.as_tensor(self._checked(pixels)).to(like) / self.scale  # (images, inputs)
        mean, std = predict(self.network, x, draws, generator(seed, Purpose.ENSEMBLE, device=like.device))
        return {"probability": mean.cpu().numpy(), "std": std.cpu().numpy()}

    def example(self) -> NDArray[np.uint8]:
        """One image, (1, inputs), that has pixels of every value that there can be."""
        return np.linspace(0, self.scale, self.network.widths[0]).round().astype(np.uint8)[None]

    def _checked(self, pixels: Any) -> NDArray[np.float64]:
        inputs = self.network.widths[0]
        try:
            given = np.asarray(pixels)
            array = given.astype(np.float64) if given.dtype.kind in NUMBERS else None
        except (TypeError, ValueError):  # ragged lists, words
            raise UserError(f"pixels: must be numbers in an array of shape (images, {inputs})") from None
        if array is None:
            raise UserError(f"pixels: of type {given.dtype}; must be numbers")
        if array.ndim != 2 or array.shape[1] != inputs:
            raise UserError(f"pixels: of shape {array.shape}; must be (images, {inputs})")
        wrong = array[~((array >= 0) & (array <= self.scale))]  # NaN is neither
        if wrong.size:
            raise UserError(f"pixels: {wrong[0]:g} is among them; must be from 0 to {self.scale:g}")
        if self.scale > 1 and 0 < array.max(initial=0) <= 1:
            self._warn(f"pixels: none is above 1, but they are meant to be from 0 to {self.scale:g}; do not scale them")
        return array

    def _warn(self, line: str) -> None:
        """Say it once of this model, whatever filters are set and reset meanwhile, as MLflow does."""
        if line not in self._warned:
            self._warned.append(line)
            warnings.warn(line, stacklevel=4)  # whoever asked for probabilities


def _scale(data: dict[str, Any]) -> float:
    """The largest pixel value; the name of the data set tells it where trial.json was written before it did."""
    return float(data["scale"] if "scale" in data else SOURCES[data["name"]].scale)
