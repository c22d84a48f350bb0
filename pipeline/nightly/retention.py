"""Which nights stay: the newest, one a week for longer, the last good one, and what is unfinished and can go on.

Their lines in the history stay for ever.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Collection
from pathlib import Path

from pipeline.nightly import night


def kept(nights: Collection[str], good: str, keep: int, weeks: int) -> set[str]:
    """Names of the nights that stay.

    :param good: the last good night; "" where there is none
    :param keep: so many of the newest
    :param weeks: so many weeks further back (Monday to Sunday), of each its last night
    """
    newest_first = sorted(nights, key=night.order, reverse=True)
    newest, older = newest_first[: max(keep, 1)], newest_first[max(keep, 1) :]
    met = {_week(name): "" for name in newest}
    further = {_week(name): name for name in reversed(older) if _week(name) not in met}
    return {*newest, *list(reversed(further.values()))[:weeks], good} & set(nights)


def _week(name: str) -> tuple[int, int]:
    return datetime.date.fromisoformat(night.order(name)[0]).isocalendar()[:2]


def prune(place: Path, good: str, keep: int, weeks: int) -> None:
    """Remove the folders of the nights that do not stay."""
    names = [path.name for path in night.nights(place)]
    for name in sorted({*names} - kept(names, good, keep, weeks), key=night.order):
        print(f"night {name} is removed; its line in the history stays")
        shutil.rmtree(place / name, ignore_errors=True)
