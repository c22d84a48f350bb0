"""The layers that a policy is exported as are those of torch and SB3, in fewer operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.torch_layers import BatchRenorm1d
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from stable_baselines3.common.preprocessing import preprocess_obs
from torch import nn

from pipeline import contract
from pipeline.agents import modules

# --- Normalize -------------------------------------------------------------------------------------


def normalize_step(mean: Any, variance: Any, clip: float = 10.0, epsilon: float = 1e-8) -> dict[str, Any]:
    return {
        "op": "normalize",
        "input": "x",
        "mean": list(mean),
        "variance": list(variance),
        "clip": clip,
        "epsilon": epsilon,
    }


@pytest.mark.parametrize(
    ("mean", "variance"),
    [
        ([0.0, 0.5, -2.0], [1.0, 4.0, 0.01]),
        ([1e6 + 0.3, -1e6 - 0.7, 12345.678], [1.0, 1.0, 1e-2]),
        ([1e6 + 0.03, 3e7 + 1.5, 0.1], [1e-2, 4.0, 1e-10]),
        ([0.1, 0.1, 0.1], [0.0, 0.0, 0.0]),
    ],
    ids=["near 0", "far beside their deviation", "very far", "constant"],
)
def test_normalize_keeps_float64s_precision(mean: list[float], variance: list[float]) -> None:
    step = normalize_step(mean, variance)
    noise = np.random.default_rng(0).normal(size=(500, 3))
    observation = (np.array(mean) + noise * np.sqrt(variance)).astype(np.float32)
    wanted = np.clip((observation.astype(np.float64) - mean) / np.sqrt(np.array(variance) + 1e-8), -10, 10)
    found = modules.Normalize(step, [3])(torch.from_numpy(observation)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(contract.prologue([step], {"x": observation})["x"], wanted, rtol=1e-6, atol=1e-7)


def test_one_subtraction_is_enough_where_the_mean_is_near() -> None:
    assert modules.Normalize(normalize_step([0.5, 0.25, -2.0], [1, 4, 9]), [3]).rest is None
    assert modules.Normalize(normalize_step([1e6 + 0.3], [1.0]), [1]).rest is not None


@pytest.mark.parametrize("clip", [10.0, 0.5, float("inf")])
def test_normalize_clips_on_both_sides(clip: float) -> None:
    module = modules.Normalize(normalize_step([0.0, 0.0], [1.0, 1.0], clip), [2])
    found = module(torch.tensor([[1e3, -1e3], [0.25, -0.25]]))
    torch.testing.assert_close(found, torch.tensor([[min(clip, 1e3), -min(clip, 1e3)], [0.25, -0.25]]))


def test_normalize_takes_the_shape_of_an_observation() -> None:
    module = modules.Normalize(normalize_step(range(6), [4.0] * 6), [2, 3])
    torch.testing.assert_close(module(torch.arange(6.0).reshape(1, 2, 3) + 2), torch.ones(1, 2, 3))


# --- the other steps -------------------------------------------------------------------------------


def test_clip_takes_bounds_that_are_words() -> None:
    module = modules.Clip([-1.0, "-inf"], ["inf", 2.0])
    torch.testing.assert_close(
        module(torch.tensor([[-9.0, -9.0], [9.0, 9.0]])), torch.tensor([[-1.0, -9.0], [9.0, 2.0]])
    )


def test_unscale_reaches_both_bounds() -> None:
    module = modules.Unscale([-1.0, -0.5], [2.0, 3.0])
    torch.testing.assert_close(
        module(torch.tensor([[-1.0, 1.0], [1.0, -1.0]])), torch.tensor([[-1.0, 3.0], [2.0, -0.5]])
    )


def test_unscale_of_symmetric_bounds_only_multiplies() -> None:
    assert modules.Unscale([-2.0, -3.0], [2.0, 3.0]).middle is None
    assert modules.Unscale([-2.0], [3.0]).middle is not None


def test_argmax_takes_the_first_of_equals() -> None:
    assert modules.Argmax(torch.int64, [])(torch.tensor([[1.0, 2.0, 2.0]])).tolist() == [1]
    assert modules.Argmax(torch.int64, [2, 2])(torch.zeros(1, 4)).tolist() == [[0, 0]]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32], ids=str)
def test_argmax_of_groups_counts_within_each(dtype: torch.dtype) -> None:
    found = modules.Argmax(dtype, [3, 1, 2])(torch.tensor([[0.0, 5.0, 1.0, -9.0, 2.0, 3.0], [7, 0, 0, 0, 1, 0]]))
    assert found.dtype == dtype
    assert found.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_one_group_keeps_its_dimension() -> None:
    assert modules.Argmax(torch.int64, [2])(torch.tensor([[0.0, 1.0]])).tolist() == [[1]]


def test_positive_is_the_mode_of_bits() -> None:
    found = modules.Positive(torch.int32)(torch.tensor([[0.5, -0.5, 0.0]]))
    assert found.dtype == torch.int32
    assert found.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("sizes", [[3], [2, 4], [1, 1, 5], [1]], ids=str)
def test_one_hot_is_sb3s_preprocessing(sizes: list[int]) -> None:
    several = spaces.MultiDiscrete(sizes) if len(sizes) > 1 else spaces.Discrete(sizes[0])
    several.seed(0)
    drawn = torch.from_numpy(np.stack([several.sample() for _ in range(40)]))
    wanted = preprocess_obs(drawn, several)
    found = modules.OneHot(sizes)(drawn.to(torch.int32))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted.reshape(40, -1).float(), rtol=0, atol=0)
    step = {"op": "one_hot", "input": "x", "sizes": sizes}
    np.testing.assert_array_equal(contract.prologue([step], {"x": drawn.numpy()})["x"], found.numpy())


def test_constant_is_repeated_along_the_batch() -> None:
    found = modules.Constant(torch.tensor([1.0, 2.0]))(torch.zeros(3, 2))
    assert found.tolist() == [[1.0, 2.0]] * 3


def test_matmul_and_add_are_a_linear_layer() -> None:
    layer = nn.Linear(5, 3)
    x = torch.randn(4, 5)
    torch.testing.assert_close(modules.MatMulAdd(layer)(x), layer(x))


def test_mean_of_quantiles_is_folded() -> None:
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6 * 3))
    x = torch.randn(4, 5)
    torch.testing.assert_close(modules.mean_of_quantiles(net, 6)(x), net(x).view(-1, 6, 3).mean(1))


def test_flat_leaves_out_what_does_nothing() -> None:
    net = nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.Sequential(nn.Tanh())))
    assert [type(leaf) for leaf in modules.flat(net)] == [nn.ReLU, nn.Tanh]


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (3, 1), (1, 1)], ids=str)
def test_weights_are_copied_whatever_their_shape(shape: tuple[int, int]) -> None:
    """Transposed, a single row or column lies in memory as it did."""
    layer = nn.Linear(*shape)
    made = modules.MatMulAdd(layer)
    with torch.no_grad():
        made.weight.fill_(9)
        made.bias.fill_(9)
    assert not (layer.weight == 9).any() and not (layer.bias == 9).any()


def test_linear_layer_may_lack_its_bias() -> None:
    layer = nn.Linear(5, 3, bias=False)
    x = torch.randn(4, 5)
    torch.testing.assert_close(modules.MatMulAdd(layer)(x), layer(x))


@pytest.mark.parametrize(("shape", "wanted"), [([2, 3], (5, 2, 3)), ([], (5,))])
def test_reshape_gives_the_shape_of_the_action(shape: list[int], wanted: tuple[int, ...]) -> None:
    layer = modules.step({"op": "reshape", "shape": shape}, torch.int64)
    assert tuple(layer(torch.zeros(5, 6 if shape else 1)).shape) == wanted


@pytest.mark.parametrize(
    ("op", "layer"), [("tanh", nn.Tanh), ("argmax", modules.Argmax), ("positive", modules.Positive)]
)
def test_step_of_the_epilogue_is_a_layer(op: str, layer: type[nn.Module]) -> None:
    assert type(modules.step({"op": op}, torch.int64)) is layer


# --- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_memory_is_one_step_of_torchs(layers: int, bias: bool) -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(5, 4, num_layers=layers, bias=bias, dropout=0.5 if layers > 1 else 0).eval()
    x, h, c = torch.randn(6, 5), torch.randn(layers, 6, 4), torch.randn(layers, 6, 4)
    with torch.no_grad():
        output, (new_h, new_c) = lstm(x[None], (h, c))
        found, states = modules.Lstm(lstm)(x, [state for layer in range(layers) for state in (h[layer], c[layer])])
    torch.testing.assert_close(found, output[0])
    torch.testing.assert_close(torch.stack(states[::2]), new_h)
    torch.testing.assert_close(torch.stack(states[1::2]), new_c)


# --- normalizations --------------------------------------------------------------------------------


def renorm(units: int, affine: bool = True) -> BatchRenorm1d:
    """A batch normalization that has seen something."""
    made = BatchRenorm1d(units, affine=affine).eval()
    with torch.no_grad():
        made.ra_mean.normal_()
        made.ra_var.uniform_(0.1, 4)
        if affine:
            made.scale.normal_()
            made.bias.normal_()
    return made


@pytest.mark.parametrize("affine", [True, False])
def test_normalization_is_folded_into_the_layer_behind(affine: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(renorm(5, affine), nn.Linear(5, 4), nn.ReLU(), renorm(4, affine), nn.Linear(4, 2)).eval()
    small = modules.small(net)
    assert [type(layer) for layer in small] == [modules.MatMulAdd, nn.ReLU, modules.MatMulAdd]
    x = torch.randn(7, 5)
    torch.testing.assert_close(small(x), net(x), rtol=1e-5, atol=1e-5)


def test_normalization_with_no_layer_behind_stays() -> None:
    net = nn.Sequential(nn.Linear(5, 4), renorm(4), nn.ReLU()).eval()
    small = modules.small(net)
    assert [type(layer) for layer in small] == [modules.MatMulAdd, modules.Affine, nn.ReLU]
    x = torch.randn(7, 5)
    torch.testing.assert_close(small(x), net(x), rtol=1e-5, atol=1e-5)


def test_normalization_at_the_end_goes_before_what_comes_next() -> None:
    norm, linear = renorm(4), nn.Linear(5, 4)
    layers, ending = modules.without_ending_norm(nn.Sequential(linear, norm))
    assert (list(layers), ending) == ([linear], [norm])
    layers, ending = modules.without_ending_norm(nn.Sequential(norm, linear))
    assert (list(layers), ending) == ([norm, linear], [])


# --- the deviation of gSDE -------------------------------------------------------------------------


@pytest.mark.parametrize("full_std", [True, False])
@pytest.mark.parametrize("use_expln", [True, False])
def test_deviation_of_gsde_is_that_of_its_distribution(full_std: bool, use_expln: bool) -> None:
    torch.manual_seed(0)
    distribution = StateDependentNoiseDistribution(3, full_std=full_std, use_expln=use_expln)
    _, log_std = distribution.proba_distribution_net(6, log_std_init=-0.5)
    with torch.no_grad():
        log_std.normal_()
        latent = torch.randn(5, 6)
        wanted = distribution.proba_distribution(torch.zeros(5, 3), log_std, latent).distribution.stddev.log()
        found = modules.StateDependentLogStd(distribution, log_std)(latent)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
