"""The status of a HostProfile: where it is in effect, who has the nodes that it does not get, who blocks its hosts."""

from datetime import datetime

from whimbrel.api.host_profile import HostEvacuation, HostProfileStatus, OverriddenNode
from whimbrel.domain.conditions import Claim, conditions
from whimbrel.domain.decision import ReplaceStatus
from whimbrel.domain.records import Profile
from whimbrel.domain.resources import HOST_PROFILES
from whimbrel.inventory.hosts import Coverage
from whimbrel.inventory.projections.validation import INVALID_SPEC

MAX_NODES = 100


def profile_status(
    record: Profile, coverage: Coverage, evacuation: HostEvacuation | None, now: datetime
) -> ReplaceStatus | None:
    """The profile's status, or None where it already says so."""
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
            "Other profiles have all of its nodes: they match with more keys, or with as many and a smaller name.",
        )
    else:
        ready = Claim("Ready", False, "NoNodes", "No node has the labels of spec.nodeSelector.")
    status = HostProfileStatus(
        observed_generation=record.generation,
        node_count=len(nodes),
        nodes=nodes[:MAX_NODES] or None,
        overridden=tuple(OverriddenNode(node=n, profile=p) for n, p in overridden)[:MAX_NODES],
        evacuation=evacuation,
        conditions=conditions(old.conditions, [ready], record.generation, now),
    )
    return None if status == old else _write(record, status)


def _invalid(record: Profile, now: datetime) -> ReplaceStatus | None:
    message = f"{record.error[:4000]}. Correct the profile and apply it again."
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
