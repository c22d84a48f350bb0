"""The table fits its terminal, and where there is none progress is lines that are added."""

from __future__ import annotations

import io
import os
import subprocess
import time
from pathlib import Path

import pytest

from pipeline import report
from pipeline.spec import Verdict
from running import ROOT

ROWS = [["", "onnx", "tflite_int8"], ["cartpole", "✓ 512/512", "✗ 12%"]]


@pytest.mark.parametrize(
    ("width", "wanted"),
    [
        (80, "          onnx       tflite_int8\ncartpole  ✓ 512/512  ✗ 12%"),
        (25, "             cartpole\nonnx         ✓ 512/512\ntflite_int8  ✗ 12%"),
        (21, "             cartpole\nonnx         ✓\ntflite_int8  ✗"),
    ],
)
def test_table_fits_its_width(width: int, wanted: str) -> None:
    assert report._fitted(ROWS, width) == wanted


@pytest.mark.parametrize(
    ("figures", "wanted"),
    [
        ({"outputs": {"action": {"max": 5.1e-06}}}, "5e-06"),
        ({"decisions": {"equal": 510, "excused": 1}, "observations": 512, "outputs": {}}, "511/512"),
        ({"closed_loop": {"kept": 0.984}, "decisions": {"equal": 1, "excused": 0}, "observations": 2}, "98%"),
        ({"action_error": 0.0123, "outputs": {"action": {"max": 0.4}}}, "±1.2%"),
        ({}, ""),
    ],
)
def test_figure_is_what_the_verdict_decided_by(figures: dict, wanted: str) -> None:
    assert report.figure(Verdict("passed", "", figures)) == wanted


def test_lines_are_added_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.Lines, "QUIET", 0.3)
    out = io.StringIO()
    lines = report.Lines(out)
    lines.start("a:onnx:convert")
    time.sleep(0.8)
    lines.end("a:onnx:convert", "FAILED", 0.8, "why")
    lines.close()
    assert "running: a:onnx:convert 0 s\n" in out.getvalue()
    assert "    0.8 s  FAILED  a:onnx:convert\nwhy\n" in out.getvalue()
    assert "\033" not in out.getvalue()


def test_plain_doit_in_the_activated_environment_does_the_same() -> None:
    activate = ROOT / ".toolchains" / "host" / "bin" / "activate"
    home = os.environ.get("SLIPWAY_TOOLCHAINS")
    if home:
        activate = Path(home) / "host" / "bin" / "activate"
    script = f". '{activate}' && doit list"
    plain = subprocess.run(["sh", "-c", script], capture_output=True, text=True, cwd=ROOT)
    wrapped = subprocess.run([ROOT / "doit", "list"], capture_output=True, text=True, cwd="/")
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout == wrapped.stdout


def test_list_reads_like_a_map_of_the_chain() -> None:
    listed = subprocess.run([ROOT / "doit", "list"], capture_output=True, text=True).stdout
    kinds = [line for line in listed.splitlines() if " → " in line and "agents" not in line]
    assert any(line.startswith("onnx ") and "sb3 → onnx: torch.onnx, opset 14" in line for line in kinds)
    assert any(line.startswith("tflite_int8 ") and "savedmodel_core → tflite_int8" in line for line in kinds)
    assert listed.index("\nonnx ") < listed.index("\nsavedmodel ") < listed.index("\ntfjs ")


def test_reason_is_told_once_for_all_kinds_and_predictions() -> None:
    absent = "edgetpu_compiler not found; predicted: "
    found = report._grouped(
        [
            ("edgetpu", "edgetpu", f"{absent}all 5 operators map, 5.81 KiB of about 8 MiB on chip"),
            ("edgetpu", "edgetpu", f"{absent}all 3 operators map, 1.00 KiB of about 8 MiB on chip"),
            ("edgetpu", "edgetpu", f"{absent}1 of 11 operators map"),
            ("onnx_core", "onnxruntime", "nothing to calibrate on"),
            ("savedmodel_core", "tensorflow", "nothing to calibrate on"),
            ("micro", "micro", "no C++ compiler"),
        ]
    )
    assert found == [
        "edgetpu in edgetpu: edgetpu_compiler not found; predicted: all operators map, but: 1 of 11 operators map",
        "onnx_core, savedmodel_core: nothing to calibrate on",
        "micro in micro: no C++ compiler",
    ]
    (alone,) = report._grouped([("edgetpu", "edgetpu", f"{absent}all 5 operators map, 5.81 KiB")])
    assert alone.endswith("predicted: all 5 operators map, 5.81 KiB")
