"""The ladder on the model, in small: what the bench measures on four hundred guests holds on a few of each kind."""

from whimbrel_lab.bench.laddering import TERMS, climb, draw

SEED = 7
FEW = 24


def test_the_same_seed_draws_the_same_guests_under_every_terms() -> None:
    drawn = list(draw(SEED, FEW))

    assert drawn == list(draw(SEED, FEW))
    assert [terms for _guest, terms in drawn[: len(TERMS)]] == list(TERMS)


def test_nearly_every_guest_arrives_within_its_budget_or_is_refused_and_none_is_harmed() -> None:
    climbed = [climb(guest, terms) for guest, terms in draw(SEED, FEW)]

    assert sum(each.kept for each in climbed) >= FEW - 2
    assert not any(each.harmed for each in climbed)


def test_an_operator_that_is_told_nothing_harms_nobody_either_and_copies_more_in_vain() -> None:
    drawn = list(draw(SEED, FEW))
    told, untold = [climb(*each) for each in drawn], [climb(*each, told=False) for each in drawn]

    assert not any(each.harmed for each in untold)
    assert sum(each.vain_s for each in told) < sum(each.vain_s for each in untold)
