"""The models hold a document to the same bounds as the generated schemas: the operator understands what a server accepts."""

import pytest
from pydantic import ValidationError

from support.definitions import MODELS, whole
from support.schema_bounds import Case, NoCase, cases, cases_of

CASES = {f"{kind} {case}": (kind, case) for kind in MODELS for part in ("spec", "status") for case in cases(kind, part)}
SERVER_ALONE = frozenset({"x-kubernetes-list-type"})
"""What a model takes as it comes: a name given twice means nothing else than once."""


@pytest.mark.parametrize(("kind", "case"), CASES.values(), ids=CASES.keys())
def test_a_model_accepts_what_is_on_a_bound_and_refuses_what_is_past_it(kind: str, case: Case) -> None:
    for document in case.accepted:
        MODELS[kind].model_validate(document)

    if case.keyword not in SERVER_ALONE:
        with pytest.raises(ValidationError):
            MODELS[kind].model_validate(case.refused)


@pytest.mark.parametrize("kind", MODELS)
def test_the_objects_that_cases_are_made_of_are_good_themselves(kind: str) -> None:
    for document in whole(kind):
        MODELS[kind].model_validate(document)


def test_a_bound_on_a_field_that_no_object_sets_is_noticed() -> None:
    schema = {"properties": {"spec": {"properties": {"new": {"type": "integer", "maximum": 3}}}}}

    with pytest.raises(NoCase, match=r"spec\.new is set in no document"):
        list(cases_of(schema, [{"spec": {}}], "spec"))


def test_a_keyword_that_nobody_knows_how_to_try_is_noticed() -> None:
    schema = {"properties": {"spec": {"multipleOf": 2}}}

    with pytest.raises(NoCase, match="nobody knows how to try multipleOf"):
        list(cases_of(schema, [{"spec": 4}], "spec"))
