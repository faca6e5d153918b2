"""The blocker corpus: every class is found alone and together with others, and what is fit is let go. Classes are data."""

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from random import Random

import pytest

from docgen import corpus
from docgen.corpus import Case
from whimbrel.preflight import ALL_REASONS

CASES = corpus.cases()
FIT_GUESTS, FIT_HOSTS = (
    tuple(case for case in CASES if case.file == name) for name in ("fit-guests.yaml", "fit-hosts.yaml")
)
BLOCKERS = tuple(case for case in CASES if case not in FIT_GUESTS and case not in FIT_HOSTS)
SEED = 20260301
COMBINATIONS = 400
WITHOUT_CLASS: dict[str, str] = {}
"""Codes that no world can show, each with why. As short as can be."""


def together(size: int) -> Iterator[tuple[Case, ...]]:
    """Random combinations in which no two contradict each other."""
    chosen = Random(SEED + size)
    found = 0
    while found < COMBINATIONS:
        combined = tuple(chosen.sample(BLOCKERS, size))
        if not any(one.contradicts(other) for one, other in combinations(combined, 2)):
            found += 1
            yield combined


def misjudged(combined: Sequence[Case]) -> str:
    """What is wrong with the verdict on these together; empty: nothing."""
    expected, found = corpus.expected(combined), corpus.judge(combined)
    wrong = []
    if missing := sorted(expected - found.codes):
        wrong.append(f"not found: {', '.join(missing)}")
    if extra := sorted(found.codes - expected):
        wrong.append(f"found besides: {', '.join(extra)}")
    blocking = {reason.code for reason in found.assessed if reason.blocks} | (expected & {"HostMissing"})
    rechecked = {reason.code for reason in found.rechecked}
    if blocking != rechecked:
        wrong.append(f"asked again before a start: {', '.join(sorted(blocking ^ rechecked))}")
    if found.admitted is bool(rechecked):
        wrong.append("let go against a reason" if found.admitted else "kept back without a reason")
    return f"{' + '.join(case.name for case in combined)}: {'; '.join(wrong)}" if wrong else ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_class_alone_is_found_as_it_is(case: Case) -> None:
    assert misjudged([case]) == ""


@pytest.mark.parametrize("size", [2, 3])
def test_of_several_blockers_at_once_each_is_found(size: int) -> None:
    assert [wrong for combined in together(size) if (wrong := misjudged(combined))] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_any_two_blockers_each_is_found() -> None:
    pairs = [pair for pair in combinations(BLOCKERS, 2) if not pair[0].contradicts(pair[1])]

    assert [wrong for pair in pairs if (wrong := misjudged(pair))] == []


def test_what_is_fit_is_let_go() -> None:
    pairs = [pair for pair in product(FIT_GUESTS, FIT_HOSTS) if not pair[0].contradicts(pair[1])]

    assert len(pairs) >= 200
    assert [wrong for pair in pairs if (wrong := misjudged(pair))] == []


def test_the_corpus_is_large_and_names_every_class_once() -> None:
    assert len(BLOCKERS) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_code_has_a_class_and_every_class_a_known_code() -> None:
    known = {reason.__name__ for reason in ALL_REASONS}
    shown = {code for case in CASES for code in case.expect}

    assert sorted(shown - known) == []
    assert sorted(known - shown - WITHOUT_CLASS.keys()) == [], "codes without a class in tests/data/blockers/*.yaml"
    assert sorted(WITHOUT_CLASS.keys() - known) == []


def test_cases_that_set_one_field_differently_contradict_each_other() -> None:
    def a_case(**change: object) -> Case:
        return Case("one", "some.yaml", frozenset(), change)

    ready, unready = ({"conditions": [{"type": "Ready", "status": status}]} for status in ("True", "False"))
    paused = {"conditions": [{"type": "Paused", "status": "True"}]}

    assert a_case(target=ready).contradicts(a_case(target=unready))
    assert not a_case(target=ready).contradicts(a_case(target=ready))
    assert not a_case(target=ready).contradicts(a_case(target=paused))
    assert a_case(target=None).contradicts(a_case(target=ready))
    assert a_case(target={}).contradicts(a_case(target=ready))
    assert a_case(claim={}).contradicts(a_case(view={"unread": ["claims"]}))
