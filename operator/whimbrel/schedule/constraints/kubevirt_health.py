"""Nothing starts while KubeVirt is absent, unhealthy or rolling out: a restarted virt-handler breaks migrations."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(_candidate: Candidate, _ledger: Ledger, circumstances: Circumstances) -> Wait | None:
    """Waits until KubeVirt is deployed and not updating."""
    kubevirt = circumstances.kubevirt
    if kubevirt is None:
        return Wait("KubeVirtMissing", "No KubeVirt object is in the cluster; install KubeVirt.")
    if kubevirt.phase != "Deployed":
        return Wait("KubeVirtNotDeployed", f"KubeVirt {kubevirt.key} is {kubevirt.phase or 'without a phase'}.")
    if not kubevirt.version:
        return Wait("KubeVirtVersionUnknown", f"KubeVirt {kubevirt.key} does not say yet which release it is.")
    if kubevirt.updating:
        return Wait("KubeVirtUpdating", f"KubeVirt {kubevirt.key} is rolling out a new version.")
    return None
