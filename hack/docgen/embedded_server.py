"""The page of the embedded API server: what it does otherwise than a real one."""

from collections.abc import Iterable

from whimbrel_lab.controlplane.embedded.deviations import Deviation


def page(deviations: Iterable[Deviation]) -> str:
    """The page as Markdown."""
    lines = [
        "# The embedded API server",
        "",
        "The lab and most tests run on an API server inside the process (`hack/whimbrel_lab/controlplane/embedded`). One "
        "suite, `tests/conformance_api`, holds it and kube-apiserver to the same assertions. What it does otherwise is "
        "below, all of it; the suite proves each line on both servers. *Refused*: with an error. *Warned*: done, with a "
        "`Warning` header. *Silent*: nothing tells.",
        "",
        "| What | A real API server | The embedded one | How |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {each.name} | {each.real} | {each.embedded} | {each.how} |" for each in deviations]
    return "\n".join(lines) + "\n"
