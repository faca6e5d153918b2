"""The custom resources of `whimbrel.dev/v1alpha1` as pydantic models, one file per kind.

The models are the truth: CRDs, their reference and the validation in the operator all come from here.
"""

from pydantic import BaseModel

from whimbrel.api.host_profile import HostProfile
from whimbrel.api.migration_plan import MigrationPlan
from whimbrel.api.virtual_machine_move import VirtualMachineMove

KINDS: tuple[type[BaseModel], ...] = (MigrationPlan, HostProfile, VirtualMachineMove)

__all__ = ["KINDS", "HostProfile", "MigrationPlan", "VirtualMachineMove"]
