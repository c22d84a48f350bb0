"""docs/support-matrix lists every family, and what it says of some of them is so today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import matrix
import matrix_page
import untrained
from families import ALGORITHMS, KINDS_OF_ACTION, OBSERVATIONS, covering, families
from matrix_page import KINDS
from pipeline.hops.tflite_structure import structure
from running import Built

Row = dict[str, Any]
CNN = ["CONV_2D", "CONV_2D", "CONV_2D", "RESHAPE", "FULLY_CONNECTED", "FULLY_CONNECTED"]


@pytest.fixture(scope="module")
def committed() -> Row:
    """The content of docs/support-matrix.json."""
    if not matrix.JSON.is_file():
        pytest.skip("docs/support-matrix.json has not been made yet: ./doit matrix makes it, in an hour")
    content: Row = json.loads(matrix.JSON.read_text(encoding="utf-8"))
    return content


def named(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in ("algorithm", "policy", "observation", "action", "feature"))


def test_matrix_lists_every_family_and_no_other(committed: Row) -> None:
    wanted = [tuple(family.row.values()) for family in families()]
    assert [named(row) for row in committed["rows"]] == wanted
    assert len(set(wanted)) == len(wanted)


def test_matrix_is_of_the_versions_that_are_tested(committed: Row) -> None:
    assert committed["versions"] == matrix.versions()


def test_every_cell_is_a_verdict_and_none_a_failure(committed: Row) -> None:
    said = ("passed", "converts and runs", "not run: ", "not supported: ")
    for row in committed["rows"]:
        assert bool(row.get("refused")) != bool(row.get("kinds"))
        assert set(row.get("kinds", KINDS)) == set(KINDS)
        assert all(cell.startswith(said) for cell in row.get("kinds", {}).values()), row


def test_page_is_made_from_the_matrix(committed: Row) -> None:
    assert matrix.PAGE.read_text(encoding="utf-8") == matrix_page.page(committed, len(covering()))


def test_rows_that_differ_in_one_thing_alone_are_drawn_together() -> None:
    rows = [{"a": a, "b": b, "mark": "–" if (a, b) == ("1", "y") else "✓"} for a in "12" for b in "xyz"]
    assert matrix_page.merged(rows, ("b", "a")) == [
        {"a": "1", "b": "x, z", "mark": "✓"},
        {"a": "1", "b": "y", "mark": "–"},
        {"a": "2", "b": "x, y, z", "mark": "✓"},
    ]


def test_covering_families_have_every_algorithm_policy_observation_and_action() -> None:
    found = covering().values()
    policies = {f"{kind}{lstm}Policy" for kind in ("Mlp", "Cnn", "MultiInput") for lstm in ("", "Lstm")}
    assert {family.algorithm for family in found} == set(ALGORITHMS)
    assert {family.policy for family in found} == policies | {"LinearPolicy"}
    assert {family.action for family in found} >= set(KINDS_OF_ACTION)
    assert {family.observation for family in found} == set(OBSERVATIONS) - {"image of floats", "Dict with odd keys"}


@pytest.mark.parametrize("name", covering())
def test_matrix_says_what_becomes_of_a_family(tiny_agents: Built, committed: Row, name: str) -> None:
    wanted = tuple(covering()[name].row.values())
    row = next(row for row in committed["rows"] if named(row) == wanted)
    assert matrix.cells(tiny_agents.artifacts / name, tiny_agents.run.text) == row["kinds"]


def test_stable_baselines3_refuses_for_the_reasons_told(committed: Row) -> None:
    every = {tuple(family.row.values()): family for family in families()}
    one_each = {row["refused"]: every[named(row)] for row in committed["rows"] if "refused" in row}
    for reason, family in one_each.items():
        with pytest.raises(Exception) as caught:
            untrained.make(family)
        assert untrained.reason(caught.value) == reason


@pytest.mark.parametrize(("kind", "operators"), [("tflite", [*CNN, "ARG_MAX"]), ("tflite_int8", CNN)])
def test_image_policy_has_neither_a_transpose_nor_a_scale(tiny_agents: Built, kind: str, operators: list[str]) -> None:
    path = tiny_agents.artifacts / "ppo_image" / kind / "policy.tflite"
    assert structure(path.read_bytes())["operators"] == operators


def test_uint8_image_enters_the_integer_network_by_subtracting_128(tiny_agents: Built) -> None:
    path: Path = tiny_agents.artifacts / "ppo_image" / "tflite_int8" / "policy.tflite"
    (image,) = structure(path.read_bytes())["inputs"]
    assert (image["dtype"], image["shape"]) == ("INT8", [1, 44, 52, 3])
    assert (image["scale"], image["zero_point"]) == ([1.0], [-128])
