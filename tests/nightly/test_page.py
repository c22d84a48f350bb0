"""The page of a night: one well-formed file that loads nothing, and says what happened."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from nightly.telling import Record, a_record, after, other, verdict
from pipeline.nightly import comparing, history, newest_page, page, plots, summary, warnings

GOOD = {"night": "2026-01-01", "good": True}


def told(now: Record, before: Record | None, lines: list[history.Line] | None = None) -> dict[str, Any]:
    changed = comparing.changes(before, now) if before else []
    warned = warnings.of(now, lines or [])
    ended = summary.outcome(now, changed, warned)
    lines = [*(lines or []), history.line(now, now["night"], ended, [])]
    return summary.of(now, GOOD if before else {"night": "", "good": False}, changed, warned, lines, ended)


def tree(text: str) -> ET.Element:
    """The page, which is XML too; nothing in it is fetched or run."""
    found = ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))
    for element in found.iter():
        assert element.tag not in ("script", "link", "img", "iframe", "object", "embed", "base")
        assert not {"src", "href", "srcset", "data"} & element.attrib.keys()
        assert not any(name.startswith("on") for name in element.attrib)
    assert not re.search(r"https?:|url\(|@import", text)
    return found


def words(text: str) -> str:
    return " ".join(" ".join(tree(text).itertext()).split())


def a_broken_night() -> Record:
    now = after(a_record(), tflite=other("tflite"), savedmodel=other("savedmodel", code="code 2"))
    now["agents"]["cartpole"]["verdicts"]["onnx/onnxruntime"] = verdict(used=0.85)
    now["agents"]["<b>&\"'"] = a_record()["agents"]["cartpole"]
    return now | {"failed": {"cartpole:tflite:litert:run": 'ConverterFailed: <script>alert("x")</script> & more'}}


def test_first_night_says_so() -> None:
    found = told(a_record(), None)
    assert (found["outcome"], found["headline"]) == (0, "all passed; the first night")
    assert "all passed; the first night" in words(page.page(found))


def test_night_as_the_one_before_says_so() -> None:
    found = told(a_record(), a_record())
    assert (found["outcome"], found["headline"]) == (0, "all as in the night of 2026-01-01")
    assert found["changes"] == found["failures"] == found["warnings"] == []


def test_page_tells_failures_causes_and_warnings() -> None:
    found = told(a_broken_night(), a_record())
    assert found["outcome"] == 1
    said = words(page.page(found))
    assert 'cartpole:tflite:litert:run ConverterFailed: <script>alert("x")</script> & more' in said
    assert "unknown nothing that is known changed: these bytes are not reproducible at tflite" in said
    assert "code Slipway's own at savedmodel" in said
    assert "85% of its tolerance is used up" in said
    assert "✗ cartpole verdict tolerance used" in said  # though its verdicts passed
    assert found["changes"][0]["causes"][0]["why"] == "unknown"


def test_changes_of_one_cause_stand_together() -> None:
    now = after(a_record(), tflite=other("a", code="code 2"), onnx=other("b", code="code 2"))
    (group,) = told(now, a_record())["changes"]
    assert group["causes"] == [{"why": "code", "says": "Slipway's own", "at": ["onnx", "tflite"]}]
    assert [change["folder"] for change in group["changes"]] == ["onnx", "tflite"]


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        (a_record(), 0),
        (after(a_record(), tflite=other("tflite")), 3),
        (a_record() | {"finished": False}, 4),
        (a_record() | {"failed": {"cartpole:onnx:convert": "no"}}, 1),
        (a_record() | {"failed": {"cartpole:onnx:convert": "no"}, "finished": False}, 1),
    ],
)
def test_exit_code_tells_the_outcome(now: Record, outcome: int) -> None:
    assert told(now, a_record())["outcome"] == outcome


def test_warning_that_stands_does_not_change_the_outcome() -> None:
    now = a_record()
    now["agents"]["cartpole"]["verdicts"]["tflite/litert"] = verdict(used=0.85)
    assert told(now, now)["outcome"] == 3
    (warned,) = warnings.of(now, [])
    standing = history.line(now, "2026-01-01", 3, [warned.identity])
    assert told(now, now, [standing])["outcome"] == 0


def test_trends_are_drawn_from_the_history() -> None:
    lines = [history.line(a_record() | {"seconds": 60.0 * day}, f"2026-01-0{day}", 0, []) for day in range(1, 4)]
    found = told(a_record() | {"night": "2026-01-04"}, a_record(), lines)
    assert found["trends"]["seconds"] == [60.0, 120.0, 180.0, 60.0]
    assert found["trends"]["us"] == [1.0] * 4
    drawn = tree(page.page(found))
    figures = drawn.findall(".//figure")
    assert len(figures) == 5 and all(len(figure.findall(".//circle")) == 4 for figure in figures)
    assert len([svg for svg in drawn.iter("svg") if svg.get("class") == "spark"]) == 6


def test_agents_rows_are_in_the_order_of_the_chain_and_without_rungs() -> None:
    now = a_record()
    agent = now["agents"]["cartpole"]
    agent["folders"]["tflite_int8/litert"] = agent["folders"]["tflite/litert"]
    agent["verdicts"]["tflite_int8/litert"] = verdict(status="not_run")
    found = told(now, None)
    rows = [row["folder"] for row in found["agents"]["cartpole"]]
    assert rows == ["onnx", "onnx/onnxruntime", "savedmodel", "tflite", "tflite/litert"]
    assert found["counts"]["checks"] == 2 and "of the same bytes" not in found["counts"]


def test_page_and_json_hold_the_same() -> None:
    found = told(a_broken_night(), a_record())
    assert json.loads(json.dumps(found)) == found


def test_page_is_for_light_and_dark_and_for_phones() -> None:
    text = page.page(told(a_record(), None))
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.0, 0.0], [None, 2.0, None, 3.0]])
def test_plot_takes_any_values(values: list[float | None]) -> None:
    nights = [f"night {at}" for at in range(len(values))]
    drawn = plots.trend("a", values, nights, ["good"] * len(values), ["" if v is None else str(v) for v in values])
    points = re.findall(r'c[xy]="([\d.]+)"', drawn)
    assert points and all(0 <= float(point) <= plots.WIDTH for point in points)


def test_plot_of_nothing_is_nothing() -> None:
    assert plots.trend("a", [None], ["n"], ["good"], [""]) == plots.spark([1.0], "a") == ""


@pytest.mark.parametrize(("seconds", "said"), [(3.14, "3.1 s"), (61, "1 min 1 s"), (7322, "2 h 2 min")])
def test_durations_are_for_people(seconds: float, said: str) -> None:
    assert page.duration(seconds) == said


@pytest.mark.parametrize(("count", "said"), [(999, "999 B"), (1234, "1.23 kB"), (5_600_000, "5.6 MB"), (2e9, "2 GB")])
def test_sizes_are_for_people(count: float, said: str) -> None:
    assert page.size(count) == said


def test_page_of_the_newest_versions_names_hop_and_version() -> None:
    hop = {"step": "cartpole:savedmodel:convert", "says": "ConverterFailed: no module named <onnx.mapping>"}
    rows = [
        {"toolchain": "", "package": "", "moved": {}, "hops": [], "says": "", "ended": "passes", "seconds": 1.0},
        {"toolchain": "tensorflow", "package": "onnx", "moved": {"onnx": ["1.16.2", "1.23.2"]}, "hops": [hop],
         "says": "", "ended": "breaks", "seconds": 2.0, "other_bytes": 3},
    ]  # fmt: skip
    found = {
        "night": "2026-01-02",
        "seconds": 3.0,
        "finished": False,
        "outcome": 4,
        "rows": rows,
        "commit": "a",
        "machine": "m",
    }
    said = words(newest_page.page(found))
    assert "tensorflow: onnx alone onnx 1.16.2 → 1.23.2 breaks at savedmodel:convert" in said
    assert "no module named <onnx.mapping>" in said and "Stopped by the time limit" in said
    assert "breaks at savedmodel:convert\n    ConverterFailed" in newest_page.text(rows)
