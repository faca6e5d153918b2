"""Names: the same intent always the same name, valid whatever the input, and never with the target in it."""

import re

from hypothesis import given
from hypothesis import strategies as st

from whimbrel.domain import naming

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

names = st.text(max_size=300)
uids = st.text(max_size=64)
attempts = st.integers(1, 100)


@given(names, uids, names, uids)
def test_a_moves_name_is_a_label_of_at_most_63_characters_whatever_it_is_made_of(
    plan: str, plan_uid: str, vm: str, vm_uid: str
) -> None:
    name = naming.move_name(plan, plan_uid, vm, vm_uid)

    assert DNS_LABEL.fullmatch(name)
    assert len(name) <= 63


@given(uids, names, uids, attempts)
def test_a_migrations_name_is_a_label_of_at_most_55_characters_because_kubevirt_makes_labels_and_jobs_of_it(
    plan_uid: str, vm: str, vm_uid: str, attempt: int
) -> None:
    name = naming.migration_name(plan_uid, vm, vm_uid, attempt)

    assert DNS_LABEL.fullmatch(name)
    assert len(name) <= naming.MAX_MIGRATION_NAME == 55


@given(st.text(max_size=2000), st.integers(0, 64))
def test_a_policys_name_is_a_label_value(configuration: str, pairs: int) -> None:
    name = naming.policy_name(configuration, pairs)

    assert DNS_LABEL.fullmatch(name)
    assert len(name) <= 63


@given(uids, uids, names, uids, uids, attempts)
def test_names_differ_with_the_plan_and_with_the_guest(
    plan_uid: str, other_plan: str, vm: str, vm_uid: str, other_vm: str, attempt: int
) -> None:
    one = naming.migration_name(plan_uid, vm, vm_uid, attempt)

    assert (naming.migration_name(other_plan, vm, vm_uid, attempt) == one) == (other_plan == plan_uid)
    assert (naming.migration_name(plan_uid, vm, other_vm, attempt) == one) == (other_vm == vm_uid)
    assert naming.migration_name(plan_uid, vm, vm_uid, attempt + 1) != one


@given(st.text(alphabet="ab", max_size=3), st.text(alphabet="ab", max_size=3))
def test_parts_of_a_name_cannot_be_mistaken_for_one_another(first: str, second: str) -> None:
    glued, shifted = naming.move_name("p", first + "a", "vm", second), naming.move_name("p", first, "vm", "a" + second)

    assert glued != shifted


def test_a_name_is_readable() -> None:
    assert naming.move_name("weekend", "u1", "db1", "u2").startswith("weekend-db1-")
    assert naming.migration_name("u1", "db1", "u2", 2).startswith("whimbrel-db1-")
    assert naming.migration_name("u1", "db1", "u2", 2).endswith("-2")


def test_another_number_of_label_pairs_is_another_policy() -> None:
    assert naming.policy_name("{}", 1) != naming.policy_name("{}", 2)
