"""Where the server's parser of config.pbtxt differs from protobuf's for Python: how numbers and texts are spelled."""

import re
from collections.abc import Iterator
from typing import Final

from qtriton.repository.check.rules import Finding, Rule, error

SPELLING: Final = error("config-spelling", "{text} is not valid: {reason}", "Write {right}")

#: Comments and texts are passed over as a whole, so that what follows them is read outside of both.
_TOKEN: Final = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<minus>-\s+(?=[\d.]))
    |(?P<plus>\+\s*\d+)
    |(?P<word>[A-Za-z_][\w]*)
    |(?P<number>\d(?:[eE][+-]|[\w.])*)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = "abfnrtv\\?'\"01234567xXuU"


def join_signs(text: str) -> str:
    """The text with each minus sign at its number, where the server takes it, too."""
    return _TOKEN.sub(lambda token: "-" if token.lastgroup == "minus" else token[0], text)


def spelling(text: str) -> Iterator[tuple[Finding, int]]:
    """What the server's parser refuses of a config that protobuf's for Python takes, with the line."""
    for token in _TOKEN.finditer(text):
        line = text.count("\n", 0, token.start()) + 1
        if token.lastgroup == "plus":
            yield SPELLING.found(text=token[0], reason="no number has a plus sign", right=token[0].lstrip("+ ")), line
        elif token.lastgroup == "number" and "_" in token[0]:
            right = token[0].replace("_", "")
            yield SPELLING.found(text=token[0], reason="no number has an underscore", right=right), line
        elif token.lastgroup == "text":
            for escape in _ESCAPE.finditer(token[0]):
                if escape[1] not in _ESCAPES:
                    reason, right = f"there is no escape {escape[0]}", f"\\{escape[0]} for a backslash"
                    yield SPELLING.found(text=token[0], reason=reason, right=right), line


SPELLING_RULES: Final[tuple[Rule, ...]] = (SPELLING,)
