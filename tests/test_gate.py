"""The gate: what is kept of the return, how sure that is, and when more episodes are needed."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import gate

ALIVE = {"source": [100.0, 90.0], "artifact": [99.0, 90.0], "random": [10.0, 0.0]}


def test_kept_is_counted_from_the_random_policy() -> None:
    found = gate.figures(ALIVE, None, 0.95)
    assert found["kept"] == pytest.approx(1 - 0.5 / 90)
    assert (found["source"], found["artifact"], found["random"], found["episodes"]) == (95.0, 94.5, 5.0, 2)
    assert gate.beyond(found, 0.95) == []


def test_negative_returns_make_sense() -> None:
    returns = {"source": [-150.0, -140.0], "artifact": [-160.0, -150.0], "random": [-1200.0, -1100.0]}
    assert gate.figures(returns, None, 0.95)["kept"] == pytest.approx(1 - 10 / 1005)


def test_agent_that_is_worse_than_random_is_not_kept_by_being_worse_still() -> None:
    returns = {"source": [-10.0] * 4, "artifact": [-20.0] * 4, "random": [0.0] * 4}
    assert gate.figures(returns, None, 0.95)["kept"] == pytest.approx(0.0)


def test_dead_artifact_is_told_with_its_figures() -> None:
    (reason,) = gate.beyond(gate.figures({**ALIVE, "artifact": [5.0, 5.0]}, None, 0.95), 0.95)
    assert reason.startswith("the mean return fell from 95 to 5: 0.0% of the return kept (95 % between")
    assert reason.endswith("bound 95%; random policy 5")


def test_equal_episodes_are_settled_at_once() -> None:
    returns = {"source": [500.0] * 30, "artifact": [500.0] * 30, "random": [20.0] * 30}
    found = gate.figures(returns, 475.0, 0.98)
    assert (found["low"], found["kept"], found["high"]) == (1.0, 1.0, 1.0)
    assert found["settled"]
    assert found["solved"] == {"source": 1.0, "artifact": 1.0, "random": 0.0}


def test_few_bad_episodes_of_many_do_not_settle() -> None:
    artifact = [500.0] * 28 + [300.0, 300.0]
    found = gate.figures({"source": [500.0] * 30, "artifact": artifact, "random": [0.0] * 30}, None, 0.98)
    assert found["low"] < 0.98 <= found["high"]
    assert not found["settled"]


def test_interval_is_that_of_the_differences_within_episodes() -> None:
    """Episodes that differ by hundreds say nothing of an artifact that loses one in each."""
    source = np.random.default_rng(0).uniform(0, 1000, 50)
    found = gate.figures(
        {"source": source.tolist(), "artifact": (source - 1).tolist(), "random": [0.0] * 50}, None, 0.98
    )
    assert found["high"] - found["low"] < 1e-9


def test_interval_covers_what_it_says() -> None:
    """95 % intervals of 200 gates on known differences hold the true share about 190 times."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        lost = random.exponential(10.0, 60)
        returns = {"source": [100.0] * 60, "artifact": (100 - lost).tolist(), "random": [0.0] * 60}
        found = gate.figures(returns, None, 0.98)
        held += found["low"] <= 0.9 <= found["high"]
    assert 176 <= held <= 198
