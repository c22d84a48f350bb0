"""The tripwire that proves that nothing was executed."""

from __future__ import annotations

from typing import Any


class Tripwire:
    """Python's audit events while it is set: imports, files, processes, code."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.granted = ""
        self.armed = False

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self.armed and not (event == "open" and str(args[0]) == self.granted):
            self.events.append(f"{event} {args[0] if args and isinstance(args[0], str) else ''}")

    def set(self, granted: object = "") -> Tripwire:
        self.granted = str(granted)
        return self

    def __enter__(self) -> Tripwire:
        self.events.clear()
        self.armed = True
        return self

    def __exit__(self, *_: object) -> None:
        self.armed = False
