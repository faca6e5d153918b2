"""VirtualMachine: its labels select, and whether it is meant to run (KubeVirt contract §1, §7: run strategies)."""

from whimbrel.domain.records import VirtualMachine
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.reading import Json

_RUNNING_STRATEGIES = frozenset({"Always", "RerunOnFailure", "Once"})


def project(raw: Json) -> VirtualMachine | None:
    """The record of a VirtualMachine; None for an object without a name."""
    key = reading.key_of(raw)
    if key is None:
        return None
    return VirtualMachine(
        key=key,
        uid=reading.text(raw, "metadata", "uid"),
        labels=reading.labels_of(raw),
        annotations=reading.reserved(raw, "metadata", "annotations"),
        running=_meant_to_run(raw),
    )


def _meant_to_run(raw: Json) -> bool:
    """By run strategy or the older `running`; with the strategy Manual an existing instance shows the wish."""
    strategy = reading.word(raw, "spec", "runStrategy")
    if strategy == "Manual":
        return reading.flag(raw, "status", "created")
    return strategy in _RUNNING_STRATEGIES or (not strategy and reading.flag(raw, "spec", "running"))
