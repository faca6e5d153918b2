"""Nothing starts while KubeVirt is absent, unhealthy or rolling out: a restarted virt-handler breaks migrations.

Nor under a release that drops the target of a migration in silence: the guest could land anywhere.
"""

import re

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait

OLDEST = (1, 6)
"""The first release with `addedNodeSelector`; older ones prune the field."""


def _release(version: str) -> tuple[int, int] | None:
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match is not None else None


def blocks(_candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits until KubeVirt is deployed and not updating."""
    kubevirt = circumstances.kubevirt
    if kubevirt is None:
        return Wait("KubeVirtMissing", "No KubeVirt object is in the cluster; install KubeVirt.")
    if kubevirt.phase != "Deployed":
        return Wait("KubeVirtNotDeployed", f"KubeVirt {kubevirt.key} is {kubevirt.phase or 'without a phase'}.")
    release = _release(kubevirt.version)
    if release is None:
        message = (
            f"KubeVirt {kubevirt.key} does not say which release it is ({kubevirt.version or 'no version observed'})."
        )
        return Wait("KubeVirtVersionUnknown", message)
    if release < OLDEST:
        message = f"KubeVirt {kubevirt.version} cannot be told where to migrate to; 1.6 is the first release that can."
        return Wait("TargetSelectionUnsupported", message)
    if kubevirt.updating:
        return Wait("KubeVirtUpdating", f"KubeVirt {kubevirt.key} is rolling out a new version.")
    return None
