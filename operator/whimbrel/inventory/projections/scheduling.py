"""What a pod asks of the scheduler beside room, as a value that all pods of one template share."""

from functools import lru_cache

from whimbrel.domain.scheduling import Nomination, PodTerm, Scheduling, SpreadConstraint, Toleration
from whimbrel.domain.selectors import LabelSelector
from whimbrel.inventory.projections import reading, selectors
from whimbrel.inventory.projections.reading import Json


@lru_cache(maxsize=4096)
def _shared(scheduling: Scheduling) -> Scheduling:
    return scheduling


def scheduling(raw: Json) -> Scheduling:
    """Everything that keeps the pod from a node, apart from room."""
    spec = reading.member(raw, "spec")
    affinity = reading.member(spec, "affinity")
    terms = selectors.node_terms(affinity, "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    return _shared(
        Scheduling(
            node_selector=tuple(sorted(reading.string_map(spec, "nodeSelector").items())),
            node_affinity=terms,
            tolerations=tuple(_toleration(item) for item in reading.items(spec, "tolerations")),
            affinity=_pod_terms(raw, affinity, "podAffinity"),
            anti_affinity=_pod_terms(raw, affinity, "podAntiAffinity"),
            spread=tuple(_spread(raw)),
            priority=_priority(raw),
        )
    )


def _priority(raw: Json) -> int:
    """May be negative; 0 where none is stated, as for the scheduler."""
    priority = reading.find(raw, "spec", "priority")
    return priority if isinstance(priority, int) and not isinstance(priority, bool) else 0


def nomination(raw: Json) -> Nomination | None:
    """Where the scheduler makes room for the pod; None for all that are bound."""
    node = "" if reading.text(raw, "spec", "nodeName") else reading.word(raw, "status", "nominatedNodeName")
    return Nomination(node, _priority(raw)) if node else None


def keeps_others_away(raw: Json) -> bool:
    """Whether the pod has required anti-affinity, which the scheduler honours towards whoever comes later."""
    path = ("spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    return any(True for _ in reading.items(raw, *path))


def _toleration(item: Json) -> Toleration:
    return Toleration(
        key=reading.word(item, "key"),
        operator=reading.word(item, "operator") or "Equal",
        value=reading.word(item, "value"),
        effect=reading.word(item, "effect"),
    )


def _pod_terms(raw: Json, affinity: Json, kind: str) -> tuple[PodTerm, ...]:
    own = reading.word(raw, "metadata", "namespace")

    def of(term: Json) -> PodTerm:
        by_label = selectors.label_selector(term, "namespaceSelector")
        named = reading.strings(term, "namespaces")
        return PodTerm(
            topology_key=reading.word(term, "topologyKey"),
            selector=selectors.label_selector(term, "labelSelector"),
            namespaces=named or (() if by_label is not None else (own,)),
            namespace_selector=by_label,
        )

    return tuple(of(term) for term in reading.items(affinity, kind, "requiredDuringSchedulingIgnoredDuringExecution"))


def _spread(raw: Json) -> list[SpreadConstraint]:
    found = []
    for item in reading.items(raw, "spec", "topologySpreadConstraints"):
        if reading.word(item, "whenUnsatisfiable") != "DoNotSchedule":
            continue
        found.append(
            SpreadConstraint(
                topology_key=reading.word(item, "topologyKey"),
                max_skew=reading.whole(item, "maxSkew", default=1),
                min_domains=reading.whole(item, "minDomains", default=1),
                selector=_with_own_values(
                    selectors.label_selector(item, "labelSelector"), reading.strings(item, "matchLabelKeys"), raw
                ),
                honours_node_affinity=reading.word(item, "nodeAffinityPolicy") != "Ignore",
                honours_taints=reading.word(item, "nodeTaintsPolicy") == "Honor",
            )
        )
    return found


def _with_own_values(selector: LabelSelector | None, keys: tuple[str, ...], raw: Json) -> LabelSelector | None:
    """A selector that also asks for the pod's own values of `matchLabelKeys`. API servers since 1.34 have merged them."""
    if selector is None or not keys:
        return selector
    values = ((key, reading.find(raw, "metadata", "labels", key)) for key in keys)
    own = (selectors.pair(key, value) for key, value in values if isinstance(value, str))
    return LabelSelector(tuple(dict.fromkeys((*selector.requirements, *own))))
