"""Features extractors in the layout that users hold: the same features, without an operator for scale or layout."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from pipeline.agents import archive, features
from pipeline.agents import spaces as agent_spaces
from pipeline.agents.modules import MatMulAdd
from pipeline.agents.reference import Reference

from .making import Inputs, Tiny, described
from .stubs import FIRST, FLAT, FOUR, TABLE
from .test_exported import assert_near, made_of, run

LAYOUTS = ("channel-last", "channel-first")
IMAGES = ["ppo_of_image", "dqn_of_image", "td3_of_image", "recurrentppo_of_image", "ppo_of_image_apart"]
IMAGES += ["ppo_of_image_flat", "ppo_of_several", "sac_of_several", "ppo_of_image_unscaled", "dqn_stacked_images"]
IMAGES += ["ppo_of_image_flat_unscaled", "recurrentppo_image_flat", "ppo_of_image_flat_linear"]


def turned(inputs: Inputs) -> Inputs:
    """Images channel-first."""
    return {name: v.transpose(0, 3, 1, 2) if v.ndim == 4 else v for name, v in inputs.items()}


def held(tiny: Tiny, images: str) -> Reference:
    return Reference(archive.read(tiny.zip), tiny.reference.statistics, images)


@pytest.mark.parametrize("case", IMAGES)
def test_both_layouts_give_the_same_outputs(made: Callable[[str], Tiny], case: str) -> None:
    tiny = made(case)
    inputs = tiny.inputs(16)
    last, first = (made_of(held(tiny, images)) for images in LAYOUTS)
    assert_near(run(first, turned(inputs)), run(last, inputs))


@pytest.mark.parametrize("case", IMAGES)
def test_images_go_unscaled_into_the_first_layer(made: Callable[[str], Tiny], case: str) -> None:
    """The scale is in its weights: nothing is multiplied or divided on the way."""
    for images in LAYOUTS:
        module = made_of(held(made(case), images), "core")
        graph = torch.jit.trace(
            module.features, (dict(zip(module.names, module.samples(), strict=True)),), strict=False
        )
        found = {node.kind() for node in graph.inlined_graph.nodes()}
        assert not found & {"aten::div", "aten::mul", "aten::div_", "aten::mul_"}


# --- the features themselves -----------------------------------------------------------------------


def features_of(tiny: Tiny, images: str, inputs: Inputs) -> torch.Tensor:
    """Of a built extractor, before the layer behind has folded in what is left."""
    reference = held(tiny, images)
    entries = [entry for entry in reference.parts.inputs if entry["role"] == "observation"]
    space = reference.archive.observation_space
    made = features.build(reference.parts.extractor, space, entries, reference.parts.scaled)
    given = {e["name"]: torch.from_numpy(np.ascontiguousarray(inputs[e["name"]], np.float32)) for e in entries}
    with torch.no_grad():
        return made(given)


def wanted_features(tiny: Tiny, inputs: Inputs) -> torch.Tensor:
    """SB3's own, of its own preprocessing."""
    policy = tiny.loaded.policy
    with torch.no_grad():
        tensor, _ = policy.obs_to_tensor(tiny.observation(inputs))
        ready = preprocess_obs(tensor, policy.observation_space, normalize_images=policy.normalize_images)
        return policy.features_extractor(ready)


@pytest.mark.parametrize("case", ["ppo_of_image", "ppo_of_image_unscaled", "ppo_of_image_default"])
@pytest.mark.parametrize("images", LAYOUTS)
def test_convolutions_are_those_of_sb3_on_either_layout(made: Callable[[str], Tiny], case: str, images: str) -> None:
    tiny = made(case)
    inputs = tiny.inputs(16)
    given = inputs if images == "channel-last" else turned(inputs)
    torch.testing.assert_close(features_of(tiny, images, given), wanted_features(tiny, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("images", "order"), [("channel-last", "hwc"), ("channel-first", "chw")])
def test_flattened_image_is_put_right_by_the_layer_behind(made: Callable[[str], Tiny], images: str, order: str) -> None:
    tiny = made("ppo_of_image_flat")
    inputs = tiny.inputs(4)
    given = inputs if order == "hwc" else turned(inputs)
    found = features_of(tiny, images, given)
    np.testing.assert_array_equal(found.numpy(), given["observation"].reshape(4, -1))
    linear = nn.Linear(found.shape[1], 5)
    folded = MatMulAdd(linear)
    (layout,) = features.build(
        tiny.reference.parts.extractor,
        tiny.reference.archive.observation_space,
        agent_spaces.inputs(tiny.reference.archive.observation_space, images),
        scaled=True,
    ).layouts
    layout.fold(folded)
    torch.testing.assert_close(folded(found), linear(wanted_features(tiny, inputs)), rtol=1e-4, atol=1e-5)


def test_vectors_need_no_folding() -> None:
    for space in (FLAT, TABLE, FOUR, spaces.MultiBinary([2, 3])):
        _, layouts = features._flattened(
            described(space), agent_spaces.inputs(described(space), "channel-last")[0], 0, 1.0
        )
        assert layouts == []


def test_fold_changes_the_rows_of_its_slice_alone() -> None:
    layer = MatMulAdd(nn.Linear(6, 2))
    before = layer.weight.detach().clone()
    features.Layout(2, torch.tensor([2, 0, 1]), 0.5).fold(layer)
    torch.testing.assert_close(layer.weight[:2], before[:2])
    torch.testing.assert_close(layer.weight[2:5], before[2:5][[2, 0, 1]] * 0.5)
    torch.testing.assert_close(layer.weight[5:], before[5:])


def test_slices_are_where_vectors_stand_in_the_features(made: Callable[[str], Tiny]) -> None:
    found = made_of(made("ppo_of_several").reference).features
    assert found.slices == {"a_key": (0, 5), "observation_action": (5, 7), "gear": (7, 10), "position": (22, 26)}


def test_image_of_another_size_keeps_its_layout_apart_from_its_neighbours() -> None:
    """Heights, widths and channels that could be mistaken for one another."""
    space = described(spaces.Box(0, 255, (2, 3, 4), np.uint8))
    (entry,) = agent_spaces.inputs(space, "channel-last")
    assert entry["shape"] == ["batch", 3, 4, 2]
    _, (layout,) = features._flattened(space, entry, 0, 1.0)
    image = np.arange(24).reshape(2, 3, 4)
    flat = image.transpose(1, 2, 0).reshape(-1)
    assert flat.tolist() == image.reshape(-1)[layout.order.numpy()].tolist()


# --- extractors of the user's own ------------------------------------------------------------------


class Halves(BaseFeaturesExtractor):
    """On a Dict: the mean of an image's channels, and half of each number."""

    def __init__(self, space: spaces.Dict) -> None:
        super().__init__(space, features_dim=3 + 3)

    def forward(self, seen: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([seen["image"].mean(dim=(2, 3)), seen["flat"] / 2], dim=1)


@pytest.mark.parametrize("images", LAYOUTS)
@pytest.mark.parametrize("scaled", [True, False])
def test_extractor_of_the_user_gets_what_sb3_would_give_it(images: str, scaled: bool) -> None:
    space = spaces.Dict({"flat": FLAT, "image": FIRST})
    entries = agent_spaces.inputs(described(space), images)
    made = features.build(Halves(space), described(space), entries, scaled)
    image, flat = np.random.default_rng(0).integers(0, 256, (4, 3, 48, 40)), np.ones((4, 3), np.float32)
    given = {"flat": torch.from_numpy(flat), "image": torch.from_numpy(image.astype(np.float32))}
    wanted = Halves(space)(preprocess_obs(given, space, normalize_images=scaled))
    if images == "channel-last":
        given["image"] = given["image"].permute(0, 2, 3, 1)
    torch.testing.assert_close(made(given), wanted)
    assert (made.layouts, made.slices) == ([], {})


def test_first_layer_that_is_none_is_told() -> None:
    with pytest.raises(TypeError, match="the first layer is Tanh, which cannot take other inputs"):
        list(features.first_layers(nn.Sequential(nn.Tanh())))
