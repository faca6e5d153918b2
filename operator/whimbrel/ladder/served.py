"""The one law of what is written to KubeVirt: no field that this release does not serve, for it would be dropped in silence.

`policy.policy_body` leaves out what is not served, `unserved` tells whether that would change what an attempt does; such an
attempt is never begun (`schedule.constraints.capabilities`).
"""

from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain.records import Capabilities, Instance
from whimbrel.ladder.policy import stated_fields

MATTERS_ONLY_IF_TRUE = frozenset({"allowWorkloadDisruption"})
"""What a release without the field never does: leaving out a false one changes nothing."""


def unserved(attempt: AttemptSpec, capabilities: Capabilities) -> tuple[str, ...]:
    """The fields that the attempt cannot do without and that are not served; empty where it can be begun."""
    lacking = []
    if attempt.names_target and not capabilities.added_node_selector:
        lacking.append("addedNodeSelector of the migration")
    if attempt.policy_name:
        lacking += [
            f"{field} of the policy"
            for field, value in stated_fields(attempt.configuration).items()
            if field not in capabilities.policy_fields and (value or field not in MATTERS_ONLY_IF_TRUE)
        ]
    return tuple(lacking)


def spared(instance: Instance, capabilities: Capabilities | None) -> bool:
    """Whether this KubeVirt is known to spare the guest (`Capabilities.spares`)."""
    return capabilities is not None and capabilities.spares(instance)
