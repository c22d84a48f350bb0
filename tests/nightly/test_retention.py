"""Which nights stay."""

from __future__ import annotations

import datetime
from pathlib import Path

from pipeline.nightly import night, retention

DAYS = [(datetime.date(2026, 3, 1) + datetime.timedelta(days=day)).isoformat() for day in range(60)]  # from a Sunday


def test_newest_stay_and_one_a_week_before_them() -> None:
    kept = sorted(retention.kept(DAYS, "", keep=3, weeks=2))
    assert kept == ["2026-04-19", "2026-04-26", *DAYS[-3:]]


def test_week_of_which_a_newer_night_stays_is_not_kept_twice() -> None:
    assert sorted(retention.kept(["2026-04-27", "2026-04-28"], "", keep=1, weeks=5)) == ["2026-04-28"]


def test_last_good_night_always_stays() -> None:
    assert DAYS[5] in retention.kept(DAYS, DAYS[5], keep=1, weeks=0)
    assert len(retention.kept(DAYS, DAYS[5], keep=1, weeks=0)) == 2


def test_nights_of_one_date_are_in_order_of_their_numbers() -> None:
    names = ["2026-04-28", "2026-04-28.2", "2026-04-28.10"]
    assert retention.kept(names, "", keep=1, weeks=0) == {"2026-04-28.10"}


def test_pruning_removes_nights_and_nothing_else(tmp_path: Path) -> None:
    for name in (*DAYS[:3], "mine", "newest"):
        (tmp_path / name).mkdir()
    (tmp_path / "history.jsonl").write_text("")
    retention.prune(tmp_path, "", keep=1, weeks=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [DAYS[2], "history.jsonl", "mine", "newest"]
    assert [path.name for path in night.nights(tmp_path)] == [DAYS[2]]
