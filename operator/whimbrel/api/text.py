"""Text that others wrote – annotations, KubeVirt's and the API server's messages – made safe for terminals, logs and people.

Used where such text enters something that is shown: reasons, messages of a status, Events, the plugin's tables. And how
many names are told as a few.
"""

from collections.abc import Sequence


def listed(names: Sequence[str], most: int | None = None, more: int = 0) -> str:
    """`a, b and 7 more`: all of these, or the first `most` of them, and how many others there are beyond those named."""
    shown = names[:most]
    more += len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def printable(text: str) -> str:
    """The same in one line, with everything that is not to be seen as an escape: control characters, line ends, marks that turn
    the direction of text or hide in it. Twice is as good as once.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines that we put together ourselves."""
    return "\n".join(map(printable, text.split("\n")))
