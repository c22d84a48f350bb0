"""Features extractors as they are exported: named inputs -> features [batch, n].

SB3 holds images channel-first and divides them by 255. Neither costs an operator here: the scale is folded into
the first layer's weights, and where an image is flattened, the layer behind has its weights put into the order in
which the user's own layout flattens. Imports torch, so it is imported inside functions only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from pipeline.agents import activations, spaces
from pipeline.agents.modules import MatMulAdd, StateDependentLogStd, flat

SCALE = 1 / 255


class Layout:
    """How a slice of the features differs from SB3's: what the layer that takes them must have folded in.

    :param start: of the slice
    :param order: SB3's index of each feature of the slice
    :param scale: by which SB3 multiplies it
    """

    def __init__(self, start: int, order: torch.Tensor, scale: float) -> None:
        self.start, self.order, self.scale = start, order, scale

    def fold(self, layer: MatMulAdd | StateDependentLogStd) -> None:
        stop = self.start + len(self.order)
        if isinstance(layer, StateDependentLogStd):
            matrix, scale = layer.variance, self.scale**2  # it takes the squares of the features
        else:
            matrix, scale = layer.weight, self.scale
        rows = matrix[self.start : stop].double()[self.order] * scale
        with torch.no_grad():
            matrix[self.start : stop] = rows.float()


class Convolutions(nn.Module):
    """NatureCNN on an image in the user's layout. TensorFlow folds the transposes around the convolutions."""

    def __init__(self, cnn: Any, entry: Mapping[str, Any], scale: float) -> None:
        super().__init__()
        self.last = entry["layout"] == spaces.CHANNEL_LAST
        body = [copy.deepcopy(layer) for layer in cnn.cnn if not isinstance(layer, nn.Flatten)]
        with torch.no_grad():
            body[0].weight.mul_(scale)
        self.body = nn.Sequential(*body)
        linear, activation = cnn.linear
        dense = MatMulAdd(linear)
        shape = _image_shape(entry)
        with torch.no_grad():
            channels, height, width = self.body(torch.zeros(1, *shape)).shape[1:]
            order = torch.arange(channels * height * width).reshape(channels, height, width)
            dense.weight.copy_(dense.weight[order.permute(1, 2, 0).reshape(-1)])
        self.flat = nn.Flatten()
        self.dense = nn.Sequential(dense, copy.deepcopy(activation))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image.permute(0, 3, 1, 2) if self.last else image
        x = self.body(x).permute(0, 2, 3, 1)
        found: torch.Tensor = self.dense(self.flat(x))
        return found


def _image_shape(entry: Mapping[str, Any]) -> list[int]:
    """Channels, height, width."""
    _, *size = entry["shape"]
    return [size[2], size[0], size[1]] if entry["layout"] == spaces.CHANNEL_LAST else size


class Features(nn.Module):
    """Features of every input, joined in the order of the space.

    :ivar layouts: what the first layers must have folded in
    :ivar slices: of inputs that are vectors of floats: name -> (start, stop) in the features
    """

    def __init__(self, branches: list[tuple[str, nn.Module, int]], layouts: list[Layout]) -> None:
        super().__init__()
        self.names = [name for name, _, _ in branches]
        self.branches = nn.ModuleList(branch for _, branch, _ in branches)
        self.widths = [width for _, _, width in branches]
        self.layouts = layouts

    @property
    def slices(self) -> dict[str, tuple[int, int]]:
        starts = [sum(self.widths[:i]) for i in range(len(self.widths))]
        return {
            name: (start, start + width)
            for name, branch, start, width in zip(self.names, self.branches, starts, self.widths, strict=True)
            if not isinstance(branch, Convolutions)
        }

    def forward(self, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        found = [branch(given[name]) for name, branch in zip(self.names, self.branches, strict=True)]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)


class Foreign(nn.Module):
    """A features extractor of the user's own, on what SB3's preprocessing would give it."""

    def __init__(self, extractor: nn.Module, entries: list[dict[str, Any]], scales: dict[str, float]) -> None:
        super().__init__()
        self.layouts: list[Layout] = []
        self.slices: dict[str, tuple[int, int]] = {}
        self.extractor = activations.known(extractor)
        self.entries, self.scales = entries, scales

    def forward(self, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        found = {}
        for entry in self.entries:
            x = given[entry["name"]]
            x = x.permute(0, 3, 1, 2) if entry["layout"] == spaces.CHANNEL_LAST else x
            scale = self.scales[entry["name"]]
            found[entry.get("key", "")] = x if scale == 1 else x * scale
        features: torch.Tensor = self.extractor(found.get("", found))
        return features


def build(extractor: Any, space: dict[str, Any], entries: list[dict[str, Any]], scaled: bool) -> Features | Foreign:
    """A features extractor of SB3, or of the user's own, on the contract's inputs.

    :param space: the agent's observation space
    :param entries: the contract's entries of its observations
    :param scaled: whether the policy divides images by 255
    """
    parts = spaces.parts(space)
    scales = {
        entry["name"]: SCALE if scaled and spaces.is_image(parts[entry.get("key", "")]) else 1.0 for entry in entries
    }
    kind = type(extractor).__name__
    if not type(extractor).__module__.startswith("stable_baselines3."):
        return Foreign(extractor, entries, scales)
    branches: list[tuple[str, nn.Module, int]] = []
    layouts = []
    for entry in entries:
        key, name = entry.get("key", ""), entry["name"]
        inner = extractor.extractors[key] if kind == "CombinedExtractor" else extractor
        if type(inner).__name__ == "NatureCNN":
            branches.append((name, Convolutions(inner, entry, scales[name]), inner.features_dim))
            continue
        start = sum(width for _, _, width in branches)
        width, layout = _flattened(parts[key], entry, start, scales[name])
        layouts += layout
        several = len(spaces.shape(parts[key])) > 1
        branches.append((name, nn.Flatten() if several else nn.Identity(), width))
    return Features(branches, layouts)


def _flattened(space: dict[str, Any], entry: dict[str, Any], start: int, scale: float) -> tuple[int, list[Layout]]:
    """How many features an input without convolutions gives, and how their order differs from SB3's."""
    if "Discrete" in space["type"]:
        return sum(spaces.groups(space)), []
    size = spaces.shape(space)
    width = int(torch.tensor(size).prod())
    order = torch.arange(width)
    if entry["layout"] == spaces.CHANNEL_LAST:
        order = order.reshape(size).permute(1, 2, 0).reshape(-1)
    elif scale == 1:
        return width, []
    return width, [Layout(start, order, scale)]


def first_layers(*stacks: nn.Module) -> Iterator[MatMulAdd | StateDependentLogStd]:
    """The first layer of each stack, which is the one that takes the features.

    :raises TypeError: it is neither a dense layer nor gSDE's
    """
    for stack in stacks:
        first = next(layer for layer in flat(stack) if not isinstance(layer, nn.Flatten))
        if not isinstance(first, MatMulAdd | StateDependentLogStd):
            raise TypeError(f"the first layer is {type(first).__name__}, which cannot take other inputs")
        yield first
