"""No field is written that this release of KubeVirt would drop; what cannot do without one is not begun."""

from typing import Any

from support.builders import CAPABILITIES, KUBEVIRT_1_4, KUBEVIRT_1_5, an_attempt
from whimbrel.api.virtual_machine_move import AttemptSpec
from whimbrel.domain.records import Capabilities
from whimbrel.domain.resources import MIGRATION_POLICIES
from whimbrel.inventory.projections import PROJECTIONS
from whimbrel.ladder.attachment import create_policy
from whimbrel.ladder.policy import is_wanted
from whimbrel.ladder.served import unserved


def attempt(**changed: Any) -> AttemptSpec:
    allowed = changed.pop("allowed", ["node-2"])
    return AttemptSpec.model_validate({**an_attempt(**changed), "allowedNodes": allowed})


def test_a_named_target_needs_a_release_that_can_be_told_one() -> None:
    naming = attempt(allowed=[])

    assert unserved(naming, CAPABILITIES) == ()
    assert unserved(naming, KUBEVIRT_1_5) == ("addedNodeSelector of the migration",)
    assert unserved(attempt(), KUBEVIRT_1_5) == ()


def test_a_stun_needs_a_release_that_suspends() -> None:
    stun = attempt(rung="Stun")

    assert unserved(stun, KUBEVIRT_1_5) == ()
    assert unserved(stun, KUBEVIRT_1_4) == ("allowWorkloadDisruption of the policy",)


def test_a_refused_suspension_need_not_be_said_where_nobody_suspends() -> None:
    gentle = attempt()

    assert unserved(gentle, KUBEVIRT_1_4) == ()
    body = create_policy(gentle, KUBEVIRT_1_4).body
    assert body["spec"].keys() == KUBEVIRT_1_4.policy_fields
    stored = PROJECTIONS[MIGRATION_POLICIES](body)
    assert is_wanted(gentle.configuration, stored.configuration)  # type: ignore[union-attr]


def test_a_release_without_one_of_the_first_fields_begins_nothing_that_needs_a_policy() -> None:
    poor = Capabilities(True, frozenset({"selectors", "bandwidthPerMigration", "completionTimeoutPerGiB"}))

    assert unserved(attempt(), poor) == ("allowAutoConverge of the policy", "allowPostCopy of the policy")
    assert unserved(attempt(policy_name="", policy_labels=0), poor) == ()


def test_every_release_is_told_all_that_it_can_be_told() -> None:
    body = create_policy(attempt(rung="Stun"), CAPABILITIES).body

    assert body["spec"].keys() == CAPABILITIES.policy_fields
