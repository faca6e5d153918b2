"""Matching of labels: Kubernetes' LabelSelector and plain maps, as the API server does it; and who may set a node's. Pure."""

from collections.abc import Mapping

from whimbrel.api.scalars import LabelSelector, LabelSelectorRequirement, SelectorOperator

PROTECTED = "node-restriction.kubernetes.io"
"""The prefix of labels that an administrator sets and no kubelet."""
_RESERVED = ("kubernetes.io", "k8s.io")
_OF_KUBELETS = ("kubelet.kubernetes.io", "node.kubernetes.io")
_SET_BY_KUBELETS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    }
)


def carries(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether all wanted pairs are among the labels; an empty map is carried by everything."""
    return all(labels.get(name) == value for name, value in wanted.items())


def node_may_set(label: str) -> bool:
    """Whether a node can give itself this label, and take it off, under the API server's admission plugin NodeRestriction.

    It keeps kubelets off the prefixes of Kubernetes, but for what kubelets are to tell, and off nobody else's: not off
    kubevirt.io. Without the plugin they can set all labels of all nodes.
    """
    prefix, slash, _ = label.partition("/")
    if not slash or not _under(prefix, _RESERVED):
        return True
    return not _under(prefix, (PROTECTED,)) and (label in _SET_BY_KUBELETS or _under(prefix, _OF_KUBELETS))


def _under(prefix: str, domains: tuple[str, ...]) -> bool:
    return any(prefix == domain or prefix.endswith(f".{domain}") for domain in domains)


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether every term of the selector holds. NotIn holds, too, where the label is absent."""
    return carries(labels, selector.match_labels or {}) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions or ()
    )


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case SelectorOperator.EXISTS:
            return value is not None
        case SelectorOperator.DOES_NOT_EXIST:
            return value is None
        case SelectorOperator.IN:
            return value in (requirement.values or ())
        case SelectorOperator.NOT_IN:
            return value not in (requirement.values or ())
