"""One trained trial's weights on their own: to keep, to load, to draw sub-networks from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lca_sweep.core import spikeslab
from lca_sweep.core.errors import UserError, first_line
from lca_sweep.core.files import make_folder, write_atomically
from lca_sweep.core.spikeslab import SpikeSlab

WEIGHTS, ABOUT = "weights.safetensors", "trial.json"


@dataclass(frozen=True)
class Network:
    """The spike-and-slab distributions of one network; each layer's tensors are (out, in), input side first."""

    layers: tuple[SpikeSlab, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Inputs, hidden widths, classes."""
        return (self.layers[0].m.shape[1], *(layer.m.shape[0] for layer in self.layers))

    def mean(self) -> list[Tensor]:
        """The mean network: every weight at its expectation."""
        return [spikeslab.moments(layer)[0] for layer in self.layers]

    def sample(self, rng: torch.Generator) -> list[Tensor]:
        """One sub-network: concrete weights, (out, in) a layer."""
        return [spikeslab.sample(layer, rng) for layer in self.layers]

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write weights.safetensors and trial.json (`about`, any JSON) into `folder`, each whole or not at all."""
        make_folder(folder)
        for name, content in self.to_files(about).items():
            write_atomically(folder / name, content)

    def to_files(self, about: Mapping[str, Any]) -> dict[str, bytes]:
        """Contents of weights.safetensors and trial.json, in the order in which they are to be written."""
        tensors = {
            f"layer{number}.{name}": tensor.detach().cpu().contiguous()
            for number, layer in enumerate(self.layers, start=1)
            for name, tensor in layer._asdict().items()
        }
        return {WEIGHTS: save(tensors), ABOUT: json.dumps(about, indent=2).encode()}

    @staticmethod
    def load(folder: Path) -> tuple[Network, dict[str, Any]]:
        """The network in `folder` and what trial.json says of it. Raises UserError if a file is missing or damaged."""
        try:
            return Network.from_files({name: (folder / name).read_bytes() for name in (WEIGHTS, ABOUT)})
        except (OSError, UserError) as error:
            raise UserError(f"{folder}: no network can be read there: {error}") from error

    @staticmethod
    def from_files(files: Mapping[str, bytes]) -> tuple[Network, dict[str, Any]]:
        """What `to_files` gave, and what trial.json says of it. Raises UserError if it is damaged."""
        try:
            tensors = load(files[WEIGHTS])
            about: dict[str, Any] = json.loads(files[ABOUT])
            depth = len(tensors) // len(SpikeSlab._fields)
            layers = tuple(
                SpikeSlab(*(tensors[f"layer{number}.{name}"] for name in SpikeSlab._fields))
                for number in range(1, depth + 1)
            )
        except (KeyError, SafetensorError, ValueError) as error:
            raise UserError(first_line(error)) from error
        return Network(layers), about


def outputs(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Ordinary forward pass of concrete weights (out, in): logits (classes, batch) of images x (in, batch).

    Of several networks at once, layers are (networks, out, in) where they differ, and the logits (networks, classes,
    batch). The images are shared, and so is what layers in common below the first difference make of them: there all
    networks are one matrix product.
    """
    a = x
    for depth, w in enumerate(weights):
        a = (w @ (a.relu_() if depth else a)).mul_(w.shape[-1] ** -0.5)
    return a
