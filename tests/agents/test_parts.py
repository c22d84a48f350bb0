"""A policy taken apart: inputs, steps before and behind the core, what it decides by, and what it also tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.agents import parts, statistics

from .making import Tiny, described


@pytest.mark.parametrize(
    ("case", "decision", "extras"),
    [
        ("ppo_discrete", "logits", ["value"]),
        ("ppo_choices", "logits", ["value"]),
        ("ppo_switches", "logits", ["value"]),
        ("ppo_box", "mean", ["value", "log_std"]),
        ("ppo_gsde", "mean", ["value", "log_std"]),
        ("ppo_of_image_apart", "mean", ["value", "log_std"]),
        ("maskableppo_choices", "logits", ["value"]),
        ("recurrentppo_box", "mean", ["log_std"]),
        ("recurrentppo_discrete", "logits", []),
        ("sac_box", "mean", ["log_std"]),
        ("sac_gsde", "mean", ["log_std"]),
        ("crossq_box", "mean", ["log_std"]),
        ("td3_box", "scaled_action", []),
        ("ddpg_box", "scaled_action", []),
        ("dqn_discrete", "q_values", []),
        ("qrdqn_discrete", "q_values", []),
        ("ars_box", "scaled_action", []),
        ("ars_clipped", "mean", []),
        ("ars_discrete", "logits", []),
    ],
)
def test_family_names_its_outputs(made: Callable[[str], Tiny], case: str, decision: str, extras: list[str]) -> None:
    found = made(case).reference.parts
    assert found.decision == decision
    assert sorted(found.extras) == sorted(extras)


@pytest.mark.parametrize(
    ("case", "prologue", "epilogue"),
    [
        ("ppo_box", [], ["clip"]),
        ("ppo_normalized", ["normalize"], ["clip"]),
        ("ppo_discrete", [], ["argmax"]),
        ("ppo_choices", [], ["argmax"]),
        ("ppo_switches", [], ["positive"]),
        ("maskableppo_discrete", [], ["mask", "argmax"]),
        ("maskableppo_switches", [], ["mask", "argmax"]),
        ("ppo_grid", [], ["clip", "reshape"]),
        ("ppo_gsde", [], ["clip"]),
        ("ppo_gsde_squashed", [], ["tanh", "unscale"]),
        ("sac_normalized", ["normalize"], ["tanh", "unscale"]),
        ("sac_grid", [], ["tanh", "unscale", "reshape"]),
        ("td3_box", [], ["unscale"]),
        ("dqn_discrete_normalized", ["normalize"], ["argmax"]),
        ("ppo_of_index", ["one_hot"], ["positive"]),
        ("ppo_of_indices", ["one_hot"], ["positive"]),
        ("ppo_of_bits", [], ["positive"]),
        ("ppo_of_image", [], ["clip"]),
        ("recurrentppo_box", ["reset", "reset"], ["clip"]),
        ("recurrentppo_normalized", ["normalize", "reset", "reset"], ["clip"]),
    ],
)
def test_steps_around_the_core(
    made: Callable[[str], Tiny], case: str, prologue: list[str], epilogue: list[str]
) -> None:
    found = made(case).reference.parts
    assert [step["op"] for step in found.prologue] == prologue
    assert [step["op"] for step in found.epilogue] == epilogue


def test_steps_name_their_inputs(made: Callable[[str], Tiny]) -> None:
    found = made("ppo_of_several").reference.parts.prologue
    assert [(step["op"], step["input"], step["sizes"]) for step in found] == [
        ("one_hot", "a_key", [2, 3]),
        ("one_hot", "gear", [3]),
    ]
    found = made("sac_of_several_normalized").reference.parts.prologue
    assert [(step["op"], step["input"]) for step in found] == [("normalize", "far"), ("normalize", "near")]


def test_statistics_of_one_frame_are_repeated_over_the_stack(made: Callable[[str], Tiny]) -> None:
    tiny = made("ppo_stacked_normalized")
    (step,) = tiny.reference.parts.prologue
    one = statistics.read(tiny.pkl, described(tiny.frame)).moments[""]
    assert step["mean"] == one.mean.tolist() * 3
    assert step["variance"] == one.variance.tolist() * 3


def test_choices_are_the_groups_that_the_epilogue_chooses_from(made: Callable[[str], Tiny]) -> None:
    found = {}
    for case in ("ppo_box", "ppo_discrete", "ppo_choices", "ppo_switches", "maskableppo_switches"):
        reference = made(case).reference
        found[case] = parts.choices(reference.archive.action_space, reference.parts.epilogue)
    assert list(found.values()) == [[], [4], [3, 2, 4], [], [2, 2, 2]]


# --- inputs ----------------------------------------------------------------------------------------


def names(tiny: Tiny) -> list[str]:
    return [entry["name"] for entry in tiny.reference.parts.inputs]


def test_mask_is_an_input_as_wide_as_all_choices(made: Callable[[str], Tiny]) -> None:
    assert made("maskableppo_choices").reference.parts.inputs[-1] == {
        "name": "action_mask",
        "role": "mask",
        "shape": ["batch", 9],
        "dtype": "bool",
        "layout": "batch first",
    }
    assert made("maskableppo_switches").reference.parts.inputs[-1]["shape"] == ["batch", 6]


def test_memory_is_two_inputs_of_each_layer_and_keep(made: Callable[[str], Tiny]) -> None:
    tiny = made("recurrentppo_dropout")
    assert names(tiny) == ["observation", "h0", "c0", "h1", "c1", "keep"]
    entries = {entry["name"]: (entry["role"], entry["shape"], entry["dtype"]) for entry in tiny.reference.parts.inputs}
    assert entries["c1"] == ("state", ["batch", 8], "float32")
    assert entries["keep"] == ("keep", ["batch", 1], "float32")
    assert tiny.reference.parts.states[3] == {"input": "c1", "output": "new_c1", "units": 8}


def test_inputs_of_a_dict_stand_in_the_order_of_its_features(made: Callable[[str], Tiny]) -> None:
    tiny = made("ppo_of_several")
    held = tiny.loaded.policy.features_extractor.extractors
    assert [entry["key"] for entry in tiny.reference.parts.inputs] == list(held)
    assert names(tiny) == ["a_key", "observation_action", "gear", "picture", "position"]


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        ("ppo_discrete", {"noise": "gumbel"}),
        ("ppo_choices", {"noise": "gumbel"}),
        ("ppo_switches", {"noise": "logistic"}),
        ("maskableppo_switches", {"noise": "gumbel"}),
        ("ppo_box", {"noise": "normal", "log_std": "log_std"}),
        ("sac_gsde", {"noise": "normal", "log_std": "log_std"}),
        ("recurrentppo_box", {"noise": "normal", "log_std": "log_std"}),
        ("td3_box", {}),
        ("dqn_discrete", {}),
        ("ars_box", {}),
    ],
)
def test_distribution_is_told_by_its_noise(made: Callable[[str], Tiny], case: str, wanted: dict[str, Any]) -> None:
    assert made(case).reference.parts.distribution == wanted
