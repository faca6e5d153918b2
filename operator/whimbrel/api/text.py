"""Text that others wrote – annotations, KubeVirt's and the API server's messages – made safe for terminals, logs and people.

Used where such text enters something that is shown: reasons, messages of a status, Events, the plugin's tables.
"""


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
