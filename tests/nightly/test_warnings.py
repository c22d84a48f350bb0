"""What is warned of before it fails, and the history that growth is told from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nightly.telling import Record, a_record, verdict
from pipeline.nightly import history, record, warnings


def told(now: Record, lines: list[history.Line] | None = None) -> list[tuple[str, bool]]:
    return [(warning.says, warning.new) for warning in warnings.of(now, lines or [])]


def judged(**found: Any) -> Record:
    now = a_record()
    now["agents"]["cartpole"]["verdicts"]["tflite/litert"] = verdict(**found)
    return now


def nights(count: int, **figures: float) -> list[history.Line]:
    """Lines of nights before, in which ``tflite`` had these figures."""
    agents = {"cartpole": {"tflite": figures, "tflite/litert": figures}}
    return [
        {"night": f"2026-01-{day:02}", "outcome": 0, "seconds": 1, "warned": [], "agents": agents}
        for day in range(1, count + 1)
    ]


def test_tolerance_nearly_used_up_is_warned_of() -> None:
    assert told(judged(used=0.79)) == []
    assert told(judged(used=0.8)) == [("80% of its tolerance is used up", True)]


def test_return_nearly_lost_is_warned_of() -> None:
    assert told(judged(used=0.9, kept=0.982)) == [
        ("90% of the loss of return that is granted is used up: 98.2% of the return is kept", True)
    ]


def test_failure_is_no_warning() -> None:
    assert told(judged(used=1.2, status="failed")) == []


def test_warning_of_the_night_before_stands_and_is_not_new() -> None:
    (warned,) = warnings.of(judged(used=0.8), [])
    lines = [{**nights(1)[0], "warned": [warned.identity]}]
    assert told(judged(used=0.9), lines) == [("90% of its tolerance is used up", False)]


@pytest.mark.parametrize(("usual", "warned"), [(1000, 0), (910, 0), (900, 1)])
def test_size_is_held_to_the_median_of_nights_before(usual: float, warned: int) -> None:
    assert len(told(a_record(), nights(5, bytes=usual))) == warned


@pytest.mark.parametrize(("usual", "count", "warned"), [(6, 5, 0), (5, 5, 1), (5, 2, 0)])
def test_decision_twice_as_slow_is_warned_of_after_three_nights(usual: float, count: int, warned: int) -> None:
    assert len(told(a_record(), nights(count, us=usual))) == warned


@pytest.mark.parametrize(
    ("figures", "used"),
    [
        ({"tolerance": {"absolute": 1e-4}, "outputs": {"action": {"needed": 2e-5}, "value": {"needed": 5e-5}}}, 0.5),
        ({"tolerance": {"absolute": 1e-4}, "outputs": {"action": {"needed": 1.0}, "q": {"needed": 5e-5}}, "decisions": {}}, 0.5),
        ({"tolerance": {"absolute": 1e-4}, "outputs": {}, "distribution": {"distance": 0.09, "limit": 0.1}}, 0.9),
        ({"closed_loop": {"kept": 0.99}, "bound": {"return_kept": 0.98}, "decisions": {"share": 0.1}}, 0.5),
        ({"closed_loop": {"kept": 1.02}, "bound": {"return_kept": 0.98}}, 0.0),
        ({"closed_loop": {"kept": 0.99}, "bound": {"return_kept": 1.0}}, 1.0),
        ({"action_error": 0.05, "bound": {"action": 0.1}}, 0.5),
        ({"decisions": {"share": 0.91}, "bound": {"decisions": 0.9}}, 0.9),
        ({}, None),
    ],
)  # fmt: skip
def test_share_of_what_is_granted(figures: dict[str, Any], used: float | None) -> None:
    assert record.used(figures) == used


def test_rung_is_told_by_the_end_of_its_ladder() -> None:
    now = a_record()
    agent = now["agents"]["cartpole"]
    agent["folders"]["tflite_int8/litert"] = agent["folders"]["tflite/litert"]
    agent["verdicts"]["tflite_int8/litert"] = verdict(used=0.99)
    assert told(now) == []


def test_history_keeps_a_line_for_each_night(tmp_path: Path) -> None:
    for seconds in (1.0, 2.0):
        now = a_record() | {"seconds": seconds}
        history.append(tmp_path, history.line(now, "2026-01-02", 0, []))
    history.append(tmp_path, history.line(a_record(), "2026-01-03", 3, ["b", "a"]))
    lines = history.read(tmp_path, print)
    assert [(line["night"], line["seconds"], line["warned"]) for line in lines] == [
        ("2026-01-02", 2.0, []),
        ("2026-01-03", 60.0, ["a", "b"]),
    ]
    assert lines[0]["agents"]["cartpole"]["tflite/litert"] == {"used": 0.01, "us": 10.0}


def test_damaged_lines_of_the_history_are_named_and_set_aside(tmp_path: Path) -> None:
    good = json.dumps(history.line(a_record(), "2026-01-02", 0, []))
    (tmp_path / "history.jsonl").write_text(f'{good[:40]}\n{good}\n{{"night": 1}}\n[]\n\n')
    said: list[str] = []
    assert [line["night"] for line in history.read(tmp_path, said.append)] == ["2026-01-02"]
    assert len(said) == 1 and "line 1, 3, 4, 5" in said[0] and str(tmp_path) in said[0]
    assert history.read(tmp_path, said.append) and len(said) == 1
    assert (tmp_path / "history.jsonl.damaged").read_text().splitlines()[:2] == [good[:40], '{"night": 1}']
