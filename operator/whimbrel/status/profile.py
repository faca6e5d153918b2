"""The status of a HostProfile: where it is in effect, who has the nodes that it does not get, who blocks its hosts.

And what it should declare and does not, and whether its nodes could have chosen it themselves: labels are a node's own word.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from whimbrel.api.host_profile import (
    HostEvacuation,
    HostProfileSpec,
    HostProfileStatus,
    OverriddenNode,
    UnknownFact,
)
from whimbrel.api.text import listed
from whimbrel.domain.conditions import Claim, conditions
from whimbrel.domain.decision import ReplaceStatus
from whimbrel.domain.records import Profile
from whimbrel.domain.resources import HOST_PROFILES
from whimbrel.inventory.hosts import Coverage
from whimbrel.inventory.labels import PROTECTED, node_may_set
from whimbrel.inventory.projections.validation import INVALID_SPEC
from whimbrel.preflight.undeclared import Wanted, undeclared

MAX_NODES = 100
MAX_UNKNOWN = 32
MOST_LABELS = 5
"""Labels that a warning names."""


def profile_status(
    record: Profile, coverage: Coverage, evacuation: HostEvacuation | None, now: datetime, needed: Wanted | None = None
) -> ReplaceStatus | None:
    """The profile's status, or None where it already says so. `needed`: None where nobody looked, and what is stored stands."""
    if record.profile is None:
        return _invalid(record, now)
    old, nodes, overridden = record.profile.status, coverage.nodes, coverage.overridden
    if nodes:
        ready = Claim("Ready", True, "InEffect", f"Applies to {len(nodes)} nodes.")
    elif overridden:
        ready = Claim(
            "Ready",
            False,
            "Overridden",
            "Other profiles have all of its nodes: they name them, match with more keys, or with as many and a smaller name.",
        )
    else:
        ready = Claim(
            "Ready", False, "NoNodes", "No node has the labels of spec.nodeSelector, or is in spec.nodeNames."
        )
    claims = [ready, *_warnings(record.profile.spec)]
    status = HostProfileStatus(
        observed_generation=record.generation,
        node_count=len(nodes),
        nodes=nodes[:MAX_NODES] or None,
        overridden=tuple(OverriddenNode(node=n, profile=p) for n, p in overridden)[:MAX_NODES],
        unknown=old.unknown if needed is None else _unknown(record.profile.spec, nodes, needed),
        evacuation=evacuation,
        conditions=conditions(old.conditions, claims, record.generation, now),
    )
    return None if status == old else _write(record, status)


def _unknown(spec: HostProfileSpec, nodes: Sequence[str], needed: Wanted) -> tuple[UnknownFact, ...]:
    if not nodes or not spec.migration.enabled:
        return ()
    facts = [UnknownFact(field=fact.field[:256], why=fact.why) for fact in undeclared(spec, needed)]
    return tuple(facts[:MAX_UNKNOWN])


def _warnings(spec: HostProfileSpec) -> Iterator[Claim]:
    """A node can join where it may set every label that is asked for; where any one will do, it can leave."""
    own = sorted(filter(node_may_set, spec.node_selector))
    enough = len(spec.node_selector) if spec.migration.enabled else 1
    if spec.node_names is not None or not own or len(own) < enough:
        return
    does = "give itself to this profile" if spec.migration.enabled else "escape this profile"
    named = listed(own, MOST_LABELS)
    yield Claim(
        "NodesTrusted",
        False,
        "LabelsOfTheirOwn",
        f"A node that lies can {does}: it may set {named} itself. Name the nodes in spec.nodeNames, or select them by a label "
        f"under {PROTECTED}/, which no node may set.",
    )


def _invalid(record: Profile, now: datetime) -> ReplaceStatus | None:
    message = (
        f"{record.error[:3900]}. Until it is corrected and applied again, its nodes are neither source nor target."
    )
    if message == record.reported_error:
        return None
    claim = Claim("Ready", False, INVALID_SPEC, message)
    status = HostProfileStatus(
        observed_generation=record.generation, conditions=conditions((), [claim], record.generation, now)
    )
    return _write(record, status)


def _write(record: Profile, status: HostProfileStatus) -> ReplaceStatus:
    body = {
        "apiVersion": HOST_PROFILES.api_version,
        "kind": HOST_PROFILES.kind,
        "metadata": {"name": record.key.name, "uid": record.uid, "resourceVersion": record.resource_version},
        "status": status.to_json(),
    }
    why = f"profile in effect on {status.node_count} nodes"
    if status.evacuation is not None:
        why += f", of which {status.evacuation.evacuable} can be emptied"
    return ReplaceStatus(HOST_PROFILES, record.key, body, why)
