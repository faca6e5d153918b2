"""One migration per virtual machine, whoever began it; and one launcher, because KubeVirt waits for the old one too."""

from whimbrel.inventory.ledger import Ledger
from whimbrel.schedule.candidate import Candidate, Circumstances, Wait


def blocks(candidate: Candidate, ledger: Ledger, _circumstances: Circumstances) -> Wait | None:
    """Waits while anybody's migration of the instance is unfinished, or a second launcher lingers."""
    migration = ledger.unfinished_migration(candidate.instance.key)
    if migration is not None:
        return Wait(
            "ForeignMigration", f"{migration.key} moves this virtual machine; this attempt follows when it ended."
        )
    # Not the instance's activePods: KubeVirt lists launchers there that ended long ago.
    launchers = ledger.launchers(candidate.instance)
    if len(launchers) > 1:
        pods = ", ".join(sorted(f"{pod.key.name} on {pod.node or 'no node'}" for pod in launchers))
        message = f"It has {len(launchers)} launchers, and KubeVirt waits until one has ended: {pods}."
        return Wait("SeveralLaunchers", message)
    return None
