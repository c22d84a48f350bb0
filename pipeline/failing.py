"""What an error of ours is: text that crosses process boundaries as JSON, and one line for whoever reads it.

The classes are in :mod:`pipeline.errors`.
"""

from __future__ import annotations

FAILED, REFUSED = 1, 2  # exit codes: something failed; or nothing did, and what was given is refused


class SlipwayError(Exception):
    """A failure that its reader can act on, told in one line.

    :param what: what is wrong, as a sentence without its full stop
    :param file: the file it is about
    :param expected: what was wanted
    :param found: what there was
    :param remedy: what to do next; the class has a default
    :param agent: filled in where the agent is known
    :param hop: filled in where the hop is known
    """

    remedy = ""

    def __init__(
        self,
        what: str,
        *,
        file: object = "",
        expected: object = "",
        found: object = "",
        remedy: str = "",
        agent: str = "",
        hop: str = "",
    ) -> None:
        self.what = what
        self.file = str(file)
        self.expected = str(expected)
        self.found = str(found)
        self.remedy = remedy or type(self).remedy
        self.agent = agent
        self.hop = hop
        super().__init__(what)

    def at(self, *, agent: str = "", hop: str = "", file: object = "") -> SlipwayError:
        """Fill in what the raiser did not know; what it did know stays."""
        self.agent = self.agent or agent
        self.hop = self.hop or hop
        self.file = self.file or str(file)
        return self

    def __str__(self) -> str:
        where = [
            f"{label} {value}"
            for label, value in (("agent", self.agent), ("hop", self.hop), ("file", self.file))
            if value
        ]
        measure = (("expected", self.expected), ("found", self.found))
        compared = ", ".join(f"{label} {value}" for label, value in measure if value)
        sentences = [part for part in (self.what, compared, self.remedy) if part]
        text = " ".join(_sentence(part) for part in sentences)
        line = f"{type(self).__name__}: " + (f"{', '.join(where)}: " if where else "") + text
        return printable(line)

    def to_json(self) -> dict[str, str]:
        """The fields, with the class's name under ``error``."""
        names = ("what", "file", "expected", "found", "remedy", "agent", "hop")
        return {"error": type(self).__name__, **{name: getattr(self, name) for name in names}}


class BadInput(SlipwayError):
    """What was given is refused: whoever gave it corrects it, and Slipway has not failed."""


def printable(text: str) -> str:
    """One line for a terminal: names out of a stranger's file may hold control characters."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _sentence(text: str) -> str:
    """With its full stop, and a capital unless it opens with a name like ``policy_kwargs`` or ``a.zip``."""
    word = text.partition(" ")[0]
    opened = text[:1].upper() + text[1:] if word.isalpha() else text
    return opened if opened.endswith("?") else f"{opened}."


def from_json(fields: dict[str, str]) -> SlipwayError:
    """The error that :meth:`SlipwayError.to_json` took apart."""
    fields = dict(fields)
    known = {cls.__name__: cls for cls in _subclasses(SlipwayError)}
    return known[fields.pop("error")](**fields)


def _subclasses(cls: type[SlipwayError]) -> list[type[SlipwayError]]:
    return [cls] + [leaf for child in cls.__subclasses__() for leaf in _subclasses(child)]
