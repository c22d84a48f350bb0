"""A bundle built anew is equal; and what keeps it from being so is told, or refused before anything is built."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
from forging_bundles import Members, consistent, edited, packed

from pipeline import rebuilding
from pipeline.bundles import packing, refusals, statement
from pipeline.rebuilding import Source
from pipeline.spec import Agent
from running import Built, doit


@pytest.fixture
def stated(whole: Members) -> dict:
    return json.loads(whole["provenance.json"])


def test_bundle_is_rebuilt_equal_by_someone_who_has_only_the_agent(
    bundled: Built, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "configs").mkdir()
    for name in ("agent.zip", "statistics.pkl"):
        shutil.copyfile(bundled.configs / name, tmp_path / name)
    given = ["--agent", str(tmp_path / "agent.zip"), "--vecnormalize", str(tmp_path / "statistics.pkl")]
    run = doit("verify", str(bundle), "--rebuild", *given, configs=tmp_path / "configs", artifacts=tmp_path / "none")
    assert run.code == 0, run.text
    assert f"✓ rebuilt from {tmp_path / 'agent.zip'}: equal, byte by byte" in run.text
    assert not (tmp_path / "none" / "whole").exists(), "nothing is built among the user's own artifacts"


def test_another_agent_is_refused_before_anything_is_built(bundled: Built, bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "agent.zip"
    other.write_bytes(b"another")
    run = doit(
        "verify", str(bundle), "--rebuild", "--agent", str(other), configs=bundled.configs, artifacts=bundled.artifacts
    )
    assert run.code == 2 and "this is not the agent.zip that it was made from" in run.text.replace("This", "this")
    assert "steps run in" not in run.text
    run = doit("verify", str(bundle), "--rebuild", configs=tmp_path, artifacts=bundled.artifacts)
    assert run.code == 2 and "agent.zip is not at hand" in run.text


def test_config_that_could_run_code_is_not_used(bundled: Built, whole: Members, tmp_path: Path) -> None:
    config = whole["config.toml"].decode() + '\n[edgetpu]\ncommand = ["touch", "/tmp/evil"]\n'
    held = edited({**whole, "config.toml": config.encode()}, "provenance.json",
                  lambda s: s["predicate"]["buildDefinition"]["externalParameters"].update(config=config))  # fmt: skip
    path = packed(tmp_path / "x.tar.zst", consistent(held), "whole")
    run = doit("verify", str(path), "--rebuild", configs=bundled.configs, artifacts=bundled.artifacts)
    assert run.code == 2 and "its config sets edgetpu, which could run code" in run.text.replace("Its", "its")


def test_config_that_could_run_code_is_used_if_ones_own_says_the_same() -> None:
    own = Agent("a", "a.toml", trust=True)
    rebuilding.check_config({"trust": True, "zip": "agent.zip"}, own)
    with pytest.raises(refusals.SourceUnfit, match="Its config sets trust"):
        rebuilding.check_config({"trust": True}, None)


def test_statistics_are_asked_for_too(stated: dict, bundled: Built) -> None:
    with pytest.raises(refusals.SourceUnfit, match="vecnormalize.pkl is not at hand"):
        rebuilding.check_source(stated, Source(str(bundled.configs / "agent.zip")))


def test_other_locks_and_code_are_named(stated: dict) -> None:
    assert rebuilding.differences(stated) == []
    for entry in stated["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if entry["name"] in ("locks/torch.txt", "pipeline"):
            entry["digest"]["sha256"] = "0" * 64
    assert rebuilding.differences(stated) == ["locks/torch.txt is another here", "Slipway's code is another here"]


def test_source_is_taken_from_the_bundle_where_it_holds_one(bundled: Built, tmp_path: Path) -> None:
    assert rebuilding.source_of(None, bundled.artifacts, tmp_path) == Source()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "agent.zip").touch()
    assert rebuilding.source_of(None, bundled.artifacts, tmp_path).zip == str(tmp_path / "source" / "agent.zip")


REASONS = {
    "toolchain": ({"toolchain": {"name": "torch", "lock": "0"}}, "onnx:convert ran in another torch: another lock"),
    "code": ({"code": "0"}, "the code of onnx:convert is another"),
    "settings": ({"settings": {"opset": 13}}, "the settings of onnx:convert are others"),
    "inputs": ({"inputs": {}}, "onnx:convert was given something else, which differs too"),
    "nothing": ({}, "onnx:convert made something else of the same, with the same lock and code: this machine computes otherwise"),
}  # fmt: skip


@pytest.mark.parametrize("what", REASONS)
def test_file_that_differs_is_told_with_its_reason(stated: dict, whole: Members, what: str) -> None:
    change, why = REASONS[what]
    again = copy.deepcopy(stated)
    statement.steps(again)["onnx:convert"]["key"].update(change)
    first = packing.listed(whole["SHA256SUMS"].decode())
    second = {**first, "artifacts/onnx/policy.onnx": "0" * 64, "provenance.json": "0" * 64}
    assert rebuilding.compared(first, second, stated, again) == [f"artifacts/onnx/policy.onnx differs: {why}"]


def test_file_that_only_one_has_is_told(stated: dict, whole: Members) -> None:
    first = packing.listed(whole["SHA256SUMS"].decode())
    second = {name: digest for name, digest in first.items() if name != "verdicts/onnx/onnxruntime.json"}
    again = copy.deepcopy(stated)
    steps = again["predicate"]["buildDefinition"]["internalParameters"]["steps"]
    steps[:] = [step for step in steps if step["name"] != "onnx:onnxruntime:check"]
    told = rebuilding.compared(first, {**second, "locks/torch.txt": "0"}, stated, again)
    assert told == ["locks/torch.txt differs: another lock",
                    "verdicts/onnx/onnxruntime.json is missing in the new one: onnx:onnxruntime:check made nothing here"]  # fmt: skip


def test_code_that_changed_nothing_that_was_made_is_told_as_that(stated: dict, whole: Members) -> None:
    first = packing.listed(whole["SHA256SUMS"].decode())
    told = rebuilding.compared(first, {**first, "provenance.json": "0", "SHA256SUMS": "0"}, stated, stated)
    assert told == [
        "provenance.json differs: all artifacts and verdicts are equal; Slipway's code, or what is known of a licence, "
        "is another here"
    ]
