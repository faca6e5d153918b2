"""What quotas and limit ranges look at when a pod is made, as a value that all pods of one template share."""

from functools import lru_cache

from whimbrel.domain.scheduling import Admission, Container
from whimbrel.inventory.projections import reading
from whimbrel.inventory.projections.amounts import amounts
from whimbrel.inventory.projections.reading import Json

_REQUIRED, _PREFERRED = (f"{kind}DuringSchedulingIgnoredDuringExecution" for kind in ("required", "preferred"))


@lru_cache(maxsize=4096)
def _shared(admission: Admission) -> Admission:
    return admission


def admission(raw: Json) -> Admission:
    """What a launcher states."""
    spec = reading.member(raw, "spec")
    initial = tuple(
        _container(each, starts=True, stays=each.get("restartPolicy") == "Always")
        for each in reading.items(spec, "initContainers")
    )
    return _shared(
        Admission(
            containers=(*initial, *map(_container, reading.items(spec, "containers"))),
            whole=_container(spec) if reading.member(spec, "resources") else None,
            overhead=amounts(spec, "overhead"),
            priority_class=reading.word(spec, "priorityClassName"),
            ends=reading.optional_whole(spec, "activeDeadlineSeconds") is not None,
            looks_across_namespaces=any(_looks_across(reading.member(spec, "affinity"))),
        )
    )


def _container(raw: Json, *, starts: bool = False, stays: bool = False) -> Container:
    return Container(amounts(raw, "resources", "requests"), amounts(raw, "resources", "limits"), starts, stays)


def _looks_across(affinity: Json) -> list[bool]:
    terms = [
        *(term for kind in ("podAffinity", "podAntiAffinity") for term in reading.items(affinity, kind, _REQUIRED)),
        *(
            reading.member(weighted, "podAffinityTerm")
            for kind in ("podAffinity", "podAntiAffinity")
            for weighted in reading.items(affinity, kind, _PREFERRED)
        ),
    ]
    return [bool(reading.strings(term, "namespaces")) or "namespaceSelector" in term for term in terms]
