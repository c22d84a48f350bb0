"""The support matrix: an agent of every family through every hop, and what became of each kind of artifact.

    ./doit matrix [WORD …]

Writes ``docs/support-matrix.json`` and, from it, ``docs/support-matrix.md``. With words, only families in whose row one of
them is are measured anew, e.g. ``ELU``; the rows of the others stay.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matrix_page
from families import Family, covering, families
from matrix_page import PASSED, RUNS, SHOWN
from pipeline.hops.tflite_structure import structure
from running import ROOT, doit

JSON, PAGE = ROOT / "docs" / "support-matrix.json", ROOT / "docs" / "support-matrix.md"
BATCH = 20
# Untrained agents have no return to keep, so float16 and int8 are held to names, shapes and finite numbers alone.
CONFIG = """
[observations]
samples = 128
edges = 32
[calibration]
samples = 100
drawn = true
[float16]
action = 1.0
decisions = 0.0
[int8]
action = 1.0
decisions = 0.0
"""


def cells(agent: Path, said: str) -> dict[str, str]:
    """What became of each kind of artifact.

    :param agent: its folder of artifacts
    :param said: what ./doit said
    """
    found: dict[str, str] = {}
    for hop in SHOWN:
        if hop.source in found and not found[hop.source].startswith((PASSED, RUNS)):
            found[hop.kind] = found[hop.source]
            continue
        verdicts = [agent / hop.kind / runtime / "verdict.json" for runtime in hop.runtimes]
        stored = [json.loads(path.read_text()) for path in verdicts if path.is_file()]
        reasons = [entry["reason"] for entry in stored if entry["status"] != "passed"]
        if len(stored) < len(verdicts) or any(entry["status"] == "failed" for entry in stored):
            found[hop.kind] = f"failed: {_error(agent.name, hop.kind, said)}"
        elif reasons:
            reason = re.sub(r"(all \d+ operators map|its one operator maps),.*", "all operators map", reasons[0])
            reason = re.sub(r", [\d.]+ \w*B of about 8 MiB on chip", "", reason)
            found[hop.kind] = reason if reason.startswith("not supported: ") else f"not run: {reason}"
        else:
            found[hop.kind] = PASSED if hop.precision == "float" else RUNS + _floats(agent / hop.kind)
    return found


def _floats(artifact: Path) -> str:
    """Whether the network of the first rung of the ladder is in integers throughout."""
    contents = [path.read_bytes() for path in artifact.glob("*.tflite")] if artifact.name == "tflite_int8" else []
    left = any("DEQUANTIZE" in structure(content)["operators"] for content in contents)
    return ": not in integers throughout" if left else ""


def _error(agent: str, kind: str, said: str) -> str:
    """What ./doit said of a kind, or of a step before it."""
    lines = [line for line in said.splitlines() if re.match(rf"\w+: agent {agent}\b", line)]
    own = [line for line in lines if f" hop {kind}:" in line]
    return re.sub(r"agent .*? file \S+: ", "", (own or lines or ["it was not reached"])[0])


def measure(batch: Sequence[tuple[str, Family]], folder: Path) -> list[dict[str, Any]]:
    """Rows of the matrix, from one run of ./doit.

    :param batch: families by the name of their agent
    :param folder: for configs and artifacts; emptied at the end
    """
    from untrained import save

    configs, artifacts = folder / "configs", folder / "artifacts"
    configs.mkdir(parents=True)
    refused = {name: save(family, configs, name, CONFIG) for name, family in batch}
    said = doit(configs=configs, artifacts=artifacts, timeout=3600).text if not all(refused.values()) else ""
    rows = [row(family, refused[name], cells(artifacts / name, said)) for name, family in batch]
    shutil.rmtree(folder)
    return rows


def row(family: Family, refused: str, found: dict[str, str]) -> dict[str, Any]:
    """A family with what became of it."""
    return {**family.row, "refused": refused} if refused else {**family.row, "kinds": found}


def _key(entry: dict[str, Any]) -> tuple[str, ...]:
    """What names a row."""
    return tuple(value for name, value in entry.items() if name not in ("kinds", "refused"))


def versions() -> dict[str, str]:
    """Of what makes the agents."""
    return {name: importlib.metadata.version(name) for name in ("stable-baselines3", "sb3-contrib")}


def write(rows: Iterable[dict[str, Any]]) -> None:
    """Both files of docs/."""
    found = {"versions": versions(), "rows": list(rows)}
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in found["rows"])
    JSON.parent.mkdir(exist_ok=True)
    JSON.write_text(f'{{"versions": {json.dumps(found["versions"])}, "rows": [\n{lines}\n]}}\n', encoding="utf-8")
    PAGE.write_text(matrix_page.page(found, len(covering())), encoding="utf-8")


def main(words: Sequence[str]) -> int:
    every = [(f"agent{number:03}", family) for number, family in enumerate(families())]
    asked = [
        held for held in every if not words or any(word in text for word in words for text in held[1].row.values())
    ]
    stays = {_key(entry): entry for entry in json.loads(JSON.read_text(encoding="utf-8"))["rows"]} if words else {}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for start in range(0, len(asked), BATCH):
            rows += measure(asked[start : start + BATCH], Path(name) / "batch")
            print(f"{len(rows)} of {len(asked)}", flush=True)
    found = {**stays, **{_key(entry): entry for entry in rows}}
    write(found[tuple(family.row.values())] for _, family in every)
    failed = [entry for entry in rows if any(cell.startswith("failed") for cell in entry.get("kinds", {}).values())]
    for entry in failed:
        print(json.dumps(entry, ensure_ascii=False))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
