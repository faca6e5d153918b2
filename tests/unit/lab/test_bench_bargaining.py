"""The price of a refusal, paid on the model in small: what the bench measures on two hundred guests holds on a few."""

from whimbrel.api.ladder import Rung
from whimbrel.forecast import CERTAIN
from whimbrel_lab.bench.bargaining import TERMS, haggle
from whimbrel_lab.bench.laddering import draw

SEED = 7
FEW = 16


def test_nearly_all_that_is_named_as_sure_moves_the_guest_that_was_refused() -> None:
    guests = [guest for guest, _terms in draw(SEED, FEW)]

    paid = [each for number, guest in enumerate(guests) for each in haggle(guest, TERMS[number % len(TERMS)])]

    sure = [each.did for each in paid if each.change.chance >= CERTAIN]
    assert len(sure) >= FEW
    assert sum(sure) >= len(sure) - 2
    assert {Rung.AUTO_CONVERGE, Rung.STUN, Rung.POST_COPY} <= {each.change.rung for each in paid}


def test_nothing_is_named_for_a_guest_that_moves() -> None:
    calm = next(guest for guest, _terms in draw(SEED, 100) if guest.dirty_mib_per_second < 100)

    assert list(haggle(calm, TERMS[0])) == []
