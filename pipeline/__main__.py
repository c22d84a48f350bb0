"""``./doit``: see :mod:`pipeline.calling`. An interrupt is one line from the first import on."""

import sys
from typing import Any


def say(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    """Tell what nobody caught."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted; what had finished is kept", file=sys.__stderr__)
    else:
        sys.__excepthook__(kind, error, traceback)


if __name__ == "__main__":
    sys.excepthook = say

    from pipeline.calling import Main

    sys.exit(Main().run(sys.argv[1:]))
