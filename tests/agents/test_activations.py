"""Activations made of other operators are torch's, everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.agents import activations

REWRITTEN = [nn.GELU, nn.CELU, nn.SELU, nn.Softplus, nn.Mish]
X = torch.cat([torch.linspace(-3e4, 3e4, 100_001), torch.linspace(-120, 120, 100_001), torch.linspace(-9, 9, 100_001)])


def hold(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert found.isfinite().all()
    assert ((found.double() - wanted).abs() <= 1e-6 + 1e-6 * wanted.abs()).all()


@pytest.mark.parametrize("cls", REWRITTEN)
def test_activation_is_torchs_within_a_millionth(cls: type[nn.Module]) -> None:
    rewritten = activations.known(cls())
    assert type(rewritten).__module__ == activations.__name__
    hold(rewritten(X), cls()(X.double()))


@pytest.mark.parametrize(
    "activation", [nn.CELU(2.5), nn.Softplus(beta=3.0), nn.Softplus(beta=0.25), nn.GELU(approximate="tanh")], ids=str
)
def test_constants_of_an_activation_are_kept(activation: nn.Module) -> None:
    hold(activations.known(activation)(X), activation(X.double()))


IN_INTEGERS = [
    *(nn.ELU(), nn.ELU(0.3), nn.CELU(), nn.CELU(2.5), nn.SELU(), nn.Softplus(), nn.Softplus(beta=3.0), nn.LogSigmoid()),
    *(nn.Mish(), nn.GELU(), nn.GELU(approximate="tanh"), nn.Hardswish(), nn.Softsign(), nn.LeakyReLU()),
    *(nn.LeakyReLU(0.2), nn.LeakyReLU(1.5)),
]


@pytest.mark.parametrize("activation", IN_INTEGERS, ids=str)
def test_activation_of_the_integer_core_is_torchs_within_2_millionths(activation: nn.Module) -> None:
    stack = activations.known(nn.Sequential(activation))
    activations.for_integers(stack)
    found, wanted = stack(X), activation(X.double())
    assert found.isfinite().all()
    assert ((found.double() - wanted).abs() <= 2e-6 + 1e-6 * wanted.abs()).all()


def test_activations_are_rewritten_for_the_integer_core_alone() -> None:
    stack = activations.known(nn.Sequential(nn.ELU(), nn.GELU(), nn.Tanh(), nn.Sequential(nn.LeakyReLU())))
    assert [type(layer) for layer in stack[:3]] == [nn.ELU, activations.GELU, nn.Tanh]
    activations.for_integers(stack)
    assert [type(layer) for layer in stack[:3]] == [activations.IntegerELU, activations.IntegerGELU, nn.Tanh]
    assert type(stack[3][0]) is activations.IntegerLeakyReLU


def test_rewritten_activation_works_on_images_too() -> None:
    image = torch.linspace(-7, 7, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    for cls in activations.FOR_INTEGERS.values():
        assert torch.equal(cls()(image).flatten(), cls()(image.flatten()))


def test_activations_inside_a_module_are_found_and_its_own_stay() -> None:
    own = nn.ModuleDict({"body": nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.GELU()), nn.Mish())})
    copied = activations.known(own)
    assert [type(layer) for layer in copied.modules() if not list(layer.children())] == [
        nn.Linear,
        activations.GELU,
        activations.Mish,
    ]
    assert type(own["body"][2]) is nn.Mish
    assert copied["body"][0].weight is not own["body"][0].weight
