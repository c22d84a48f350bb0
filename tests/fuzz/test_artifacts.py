"""Whatever has become of what lies beside artifacts, the next run puts it right, and nothing else."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from agents.cases import CASES
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import artifacts, cache, doing, errors, report, steps, stored, worker
from pipeline.settings import Observations
from pipeline.spec import Agent
from pipeline.steps import making, whole
from running import doit

from .watching import VALUES, often, tree

DEEP = b"[" * 100_000


@dataclass
class Built:
    """An agent that is built, and the digests of what it is."""

    agent: Agent
    root: Path
    digests: dict[str, str]


@pytest.fixture(scope="module", autouse=True)
def jobs_in_this_process() -> Iterator[None]:
    """As a toolchain's process does them, a failure of a converter included."""

    def here(agent: Agent, toolchain: str, job: dict[str, Any], log: Path, *_: Any, **__: Any) -> None:
        try:
            doing.JOBS[job["do"]](json.loads(json.dumps(job, default=str)))
        except errors.SlipwayError:
            raise
        except Exception as error:
            raise errors.ConverterFailed(worker._telling(error)) from None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "job", here)
        patch.setattr(cache, "CURRENT", None)
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    torch.set_num_threads(1)
    tiny = CASES["ppo_box"].save(tmp_path_factory.mktemp("tiny"))
    agent = Agent(
        "tiny", "tiny.toml", zip=str(tiny.zip), targets=["weights"], observations=Observations(samples=16, edges=8)
    )
    root = tmp_path_factory.mktemp("built")
    run(agent, root)
    return Built(agent, root, digests(root))


def run(agent: Agent, root: Path) -> set[str]:
    """What ./doit does, but for doit: names of the steps that were not up to date."""
    done = set()
    with artifacts.lock(root):
        if not whole.fresh(agent, root, False):
            for step in steps.steps(agent, root):
                if not step.fresh():
                    done.add(step.name)
                    step.act()
        table = io.StringIO()
        report.table(table, [agent], root, set(), set(), [])
        assert "✓" in table.getvalue() and table.getvalue().count("·") == 1, "but for the legend"
        whole.record(agent, root, False)
    return done


def digests(root: Path) -> dict[str, str]:
    """Of what is built, manifests included: logs are not, nor is what someone else has put there."""
    artifacts._digests.clear()
    home = root / "tiny"
    manifests = [path for path in home.rglob("manifest.json") if path.is_file()]
    found = artifacts.digests(home) | {path.relative_to(home).as_posix(): artifacts.digest(path) for path in manifests}
    return {name: digest for name, digest in found.items() if not name.startswith(("log", "weights/further"))}


@contextmanager
def copied(built: Built) -> Iterator[tuple[Path, Path]]:
    """The artifacts for an example to break, and a folder outside that nothing writes to."""
    with tempfile.TemporaryDirectory() as place:
        root, outside = Path(place) / "artifacts", Path(place) / "outside"
        shutil.copytree(built.root, root)
        outside.mkdir()
        for name in ("file", "manifest.json"):
            (outside / name).write_text("precious")
        before = tree(outside)
        yield root, outside
        assert tree(outside) == before
        assert {path.name for path in Path(place).iterdir()} == {"artifacts", "outside"}


PLACES = st.sampled_from(
    [
        *("tiny/sb3", "tiny/sb3/policy.json", "tiny/sb3/manifest.json", "tiny/sb3/agent.zip", "tiny/observations"),
        *("tiny/observations/manifest.json", "tiny/observations/about.json", "tiny/observations/reference.npz"),
        *("tiny/weights", "tiny/weights/manifest.json", "tiny/weights/policy.json", "tiny/weights/weights.safetensors"),
        *("tiny/weights/weights", "tiny/weights/weights/manifest.json", "tiny/weights/weights/outputs.npz"),
        *(
            "tiny/weights/weights/verdict.json",
            ".fresh/tiny",
            ".fresh",
            ".staging",
            ".lock",
            "tiny/log",
            "tiny/log/sb3.txt",
        ),
        *("tiny/weights/further", ".fresh/another"),
    ]
)
WAYS = st.sampled_from(["bytes", "value", "field", "deep", "cut", "gone", "folder", "file", "link", "pipe", "huge"])


def change(path: Path, way: str, data: st.DataObject, outside: Path) -> None:
    """Something becomes of a place."""
    held = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    told = json.loads(held) if path.suffix == ".json" and held[:1] == b"{" and way == "field" else None
    artifacts.remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if way == "folder":
        (path / data.draw(st.sampled_from(["", "inner", "manifest.json"]))).mkdir(parents=True, exist_ok=True)
    elif way == "link":
        to = data.draw(st.sampled_from([outside, outside / "file", outside / "gone", path]))
        path.symlink_to(to)
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 28)
    elif way == "cut":
        path.write_bytes(held[: len(held) // 2])
    elif way == "deep":
        path.write_bytes(DEEP)
    elif way == "value" or told is None:
        path.write_bytes(
            json.dumps(data.draw(VALUES)).encode() if way != "bytes" else data.draw(st.binary(max_size=60))
        )
    elif way == "field":
        inner = (
            told
            if data.draw(st.booleans())
            else told.get(data.draw(st.sampled_from(["files", "key", "figures"])), told)
        )
        inner = inner if isinstance(inner, dict) else told
        inner[data.draw(st.sampled_from([*inner, "more", "../outside/file", "/dev/zero"]))] = data.draw(VALUES)
        path.write_text(json.dumps(told))
    if way == "gone":
        artifacts.remove(path)


def test_nothing_is_to_do_twice(built: Built) -> None:
    assert run(built.agent, built.root) == set()


@often(40, 2500)
@given(data=st.data())
def test_whatever_lies_there_is_put_right(built: Built, data: st.DataObject) -> None:
    with copied(built) as (root, outside):
        changed = data.draw(st.lists(st.tuples(PLACES, WAYS), min_size=1, max_size=2))
        for name, way in changed:
            parents = [root / name, *(root / name).parents][1:]
            if any(parent.is_symlink() or (parent.exists() and not parent.is_dir()) for parent in parents):
                continue
            change(root / name, way, data, outside)
        done = run(built.agent, root)
        assert digests(root) == built.digests
        if not any(name.startswith(("tiny/sb3", "tiny/observations", "tiny/log")) for name, _ in changed):
            assert done <= {"weights:convert", "weights:weights:run", "weights:weights:check"}
        assert run(built.agent, root) == set()


@often(20, 400)
@given(told=VALUES)
@example(told={"key": {}, "files": {"\ud800": "x"}, "reason": "", "status": "built", "versions": {}})
@example(told={"key": {}, "files": {"../../outside/file": "x"}, "reason": "", "status": "built", "versions": {}})
@example(told={"key": {}, "files": 3, "reason": "", "status": "built", "versions": {}})
def test_manifest_of_any_value_is_one_or_none(told: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        sealed = stored.sealed(told) if isinstance(told, dict) else json.dumps(told)
        (Path(place) / artifacts.MANIFEST).write_text(sealed)
        found = artifacts.manifest(Path(place))
        assert found is None or artifacts.fresh(Path(place), {"a": 1}) is False
        assert found is None or all(".." not in name for name in found.files)


def test_file_that_a_manifest_was_made_to_forget_is_noticed(built: Built) -> None:
    """Found by the above: without a digest of its own, a manifest vouched for whatever it did not name."""
    with copied(built) as (root, _):
        path = root / "tiny/sb3/manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "files": {}}))
        (root / "tiny/sb3/policy.json").write_text("{}")
        assert "sb3" in run(built.agent, root)
        assert digests(root) == built.digests


@pytest.mark.parametrize("way", ["file", "link", "pipe"])
@pytest.mark.parametrize("name", ["tiny/log", ".lock", ".staging", ".fresh", "tiny/weights"])
def test_place_of_a_run_that_is_something_else_is_put_right(built: Built, name: str, way: str) -> None:
    """Found by the above."""
    with copied(built) as (root, outside):
        for place in (root / name, root / "tiny/weights/manifest.json"):
            artifacts.remove(place)
        {"file": Path.touch, "link": lambda path: path.symlink_to(outside), "pipe": os.mkfifo}[way](root / name)
        assert "weights:convert" in run(built.agent, root)
        assert digests(root) == built.digests


def test_run_says_nothing_of_what_it_puts_right(built: Built, tmp_path: Path) -> None:
    """Everything at once, through ./doit."""
    configs, root, outside = tmp_path / "configs", tmp_path / "artifacts", tmp_path / "outside"
    configs.mkdir()
    outside.write_text("precious")
    shutil.copyfile(built.agent.zip, configs / "agent.zip")
    (configs / "tiny.toml").write_text('zip = "agent.zip"\ntargets = ["weights"]\n')
    assert doit(configs=configs, artifacts=root).code == 0
    before = digests(root)
    for name in (
        ".fresh/tiny",
        "tiny/weights/manifest.json",
        "tiny/weights/weights/verdict.json",
        "tiny/log/sb3.txt",
        ".lock",
    ):
        artifacts.remove(root / name)
    os.mkfifo(root / ".fresh" / "tiny")
    (root / "tiny/weights/manifest.json").mkdir()
    (root / "tiny/weights/weights/verdict.json").mkdir()
    (root / "tiny/sb3/manifest.json").write_bytes(DEEP)
    (root / "tiny/observations/manifest.json").write_text('{"key": {}, "files": {"/dev/zero": ""}}')
    for name in (".lock", "tiny/log/sb3.txt"):
        (root / name).symlink_to(outside)
    run = doit(configs=configs, artifacts=root)
    assert (run.code, "Traceback" in run.text, run.failed) == (0, False, set()), run.text
    assert digests(root) == before
    assert outside.read_text() == "precious"
