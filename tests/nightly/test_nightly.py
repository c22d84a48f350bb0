"""Real nights of a tiny agent: as before, changed, stopped and continued, broken."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from nightly.test_page import words
from pipeline.nightly import history
from running import ROOT, Run

CONFIG = """
zip = "tiny.zip"
targets = ["weights"]
[environment]
id = "CartPole-v1"
[observations]
episodes = 1
samples = 32
seed = {seed}
"""


class Nights:
    """A folder of nights, and ./doit nightly in it."""

    def __init__(self, folder: Path, archive: Path) -> None:
        self.configs, self.into, self.archive = folder / "configs", folder / "nightly", archive
        self.configs.mkdir()
        self.agent(0)

    def agent(self, seed: int, name: str = "tiny") -> None:
        shutil.copyfile(self.archive, self.configs / "tiny.zip")
        (self.configs / f"{name}.toml").write_text(CONFIG.format(seed=seed))

    def call(self, *arguments: str) -> list[str]:
        return [str(ROOT / "doit"), "nightly", f"configs={self.configs}", "--into", str(self.into), *arguments]

    def night(self, *arguments: str) -> Run:
        done = subprocess.run(self.call(*arguments), capture_output=True, text=True, timeout=300)
        return Run(done.returncode, done.stdout + done.stderr)

    @property
    def told(self) -> dict[str, Any]:
        return json.loads((self.into / "index.json").read_text())

    @property
    def page(self) -> str:
        return words((self.into / "index.html").read_text())


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory, tiny_zip: Path) -> Nights:
    """The first night of an agent, which the tests below follow in their order."""
    found = Nights(tmp_path_factory.mktemp("nightly"), tiny_zip)
    run = found.night()
    assert run.code == 0, run.text
    return found


def test_first_night_builds_times_and_records_everything(nights: Nights) -> None:
    assert nights.told["headline"] == "all passed; the first night"
    (rows,) = nights.told["agents"].values()
    found = {row["folder"]: row for row in rows}
    assert found["weights/weights"]["status"] == "passed" and found["weights/weights"]["us"] > 0
    assert found["weights"]["bytes"] > 0
    (folder,) = [path for path in nights.into.iterdir() if path.is_dir()]
    record = json.loads((folder / "record.json").read_text())
    assert record["agents"]["tiny"]["seconds"].keys() >= {"sb3", "weights:convert"}
    assert record["locks"]["torch"]["pins"]["stable-baselines3"]


def test_second_night_says_what_changed_and_why(nights: Nights) -> None:
    nights.agent(5)
    run = nights.night()
    assert run.code == 3, run.text
    assert " changes (settings)" in run.text
    (group,) = nights.told["changes"]
    assert group["causes"] == [{"why": "settings", "says": "seed 0 → 5", "at": ["observations"]}]
    assert {change["folder"] for change in group["changes"]} >= {"observations", "weights/weights"}
    assert "settings seed 0 → 5 at observations" in nights.page


def test_night_that_is_stopped_goes_on_where_it_was_and_is_as_the_one_before(nights: Nights) -> None:
    run = nights.night("--limit", "1s")
    assert run.code == 4, run.text
    assert "stopped by its time limit" in nights.page
    again = nights.night()
    assert again.code == 0, again.text
    assert "was not finished: continuing" in again.text
    assert nights.told["headline"].startswith("all as in the night of ") and nights.told["attempts"] == 2
    assert [line["outcome"] for line in history.read(nights.into, print)] == [0, 3, 0]


def test_broken_agent_fails_the_night_and_is_on_its_page(nights: Nights) -> None:
    nights.agent(5, "broken")
    (nights.configs / "broken.toml").write_text(CONFIG.format(seed=0).replace("tiny.zip", "none.zip"))
    run = nights.night()
    assert run.code == 1, run.text
    (failure,) = nights.told["failures"]
    assert failure["new"] and "none.zip" in failure["says"]
    assert nights.told["against"]["good"]


def test_killed_night_takes_its_doit_with_it_and_is_continued(nights: Nights, tmp_path: Path) -> None:
    (nights.configs / "broken.toml").unlink()
    process = subprocess.Popen(nights.call(), stdout=subprocess.PIPE, text=True)
    folder = ""
    while not folder:  # until the inner ./doit has its lock
        locks = [path for path in nights.into.glob("*/artifacts/.lock") if path.read_text()]
        states = {path.parent.parent: json.loads((path.parent.parent / "state.json").read_text()) for path in locks}
        folder = next((str(path) for path, state in states.items() if not state["finished"]), "")
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=40)
    inner = subprocess.run(["pgrep", "-f", f"artifacts={folder}"], capture_output=True, text=True)
    assert (inner.stdout, json.loads((Path(folder) / "state.json").read_text())["finished"]) == ("", False)
    shutil.rmtree(folder)


def test_what_is_no_night_is_refused_with_doits_own_code(nights: Nights) -> None:
    for arguments in (["--limit", "soon"], ["nobody"], ["--keep", "0"], ["tiny", "--keep", "3"]):
        run = nights.night(*arguments)
        assert run.code == 2 and run.text.startswith("NightlyUnfit: "), run.text
