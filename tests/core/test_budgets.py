"""Privacy budgets: what answers cost, that nothing is paid twice, and who may change them."""

import asyncio

import pytest

from server.core import budgets, counts, datasets, events
from server.core.errors import BudgetExhausted, DatasetNotFound, InvalidFields, OrganizationNotFound
from server.core.questions import Asking
from tests.core.asked import answer_to, counted
from tests.core.filled import dataset, fill, upload
from tests.core.scenes import HOUSE, organization

ASKING = Asking("heights", "height", "10")


@pytest.fixture
async def acme(store):
    caller = await organization(store)
    await dataset(store, caller)
    await fill(store, caller, [165] * 100)
    return caller


async def budget(store, caller) -> budgets.Budget:
    return (await store.read(datasets.get, caller=caller, name="heights")).budget


async def set_budget(store, epsilon, **changes):
    wanted = {"organization": "acme", "dataset": "heights", "epsilon": epsilon} | changes
    return await store.write(budgets.set_budget, caller=HOUSE, **wanted)


async def test_each_new_question_is_paid_for_once(store, acme):
    assert (await budget(store, acme)) == budgets.DEFAULT
    answer = await answer_to(store, acme, ASKING)
    await answer_to(store, acme, ASKING._replace(bin_width="10.0", where="[]"))
    assert (await budget(store, acme)).spent.epsilon == answer.cost.epsilon
    await answer_to(store, acme, ASKING._replace(bin_width="20"))
    after = await budget(store, acme)
    assert after.spent.epsilon == 2 * answer.cost.epsilon
    assert 2 * answer.cost.delta <= after.spent.delta < 2 * answer.cost.delta + 3e-12


async def test_the_budget_is_of_all_versions_together(store, acme):
    await set_budget(store, 1)
    for number in range(2):
        await answer_to(store, acme, ASKING)
        await upload(store, acme, {f"more-{number}": {"heights": [{"height": 165}]}})
    with pytest.raises(BudgetExhausted) as refusal:
        await answer_to(store, acme, ASKING)
    assert refusal.value.metadata() == {"dataset": "heights", "cost": "0.5", "remaining": "0"}


async def test_many_tenths_add_up_to_what_they_are(store, acme):
    await set_budget(store, 2)
    for number in range(1, 5):
        await answer_to(store, acme, ASKING._replace(bin_width=str(number)))
    with pytest.raises(BudgetExhausted):
        await answer_to(store, acme, ASKING)
    assert (await budget(store, acme)).spent.epsilon == 2


async def test_a_refusal_reads_no_rows_and_costs_nothing(store, acme):
    await set_budget(store, 0)
    with pytest.raises(BudgetExhausted):
        await store.read(counts.ask, organization_id=acme.tenant, asking=ASKING)
    assert (await budget(store, acme)).spent.epsilon == 0


async def test_racing_questions_pay_once_if_they_are_the_same_and_never_more_than_there_is(store, elsewhere, acme):
    await set_budget(store, 2)
    widths = [str(number % 8 + 1) for number in range(32)]
    asked = [
        answer_to((store, elsewhere)[number % 2], acme, ASKING._replace(bin_width=width))
        for number, width in enumerate(widths)
    ]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    told: dict[str, set] = {}
    for width, answer in zip(widths, answers, strict=True):
        assert isinstance(answer, counts.Answer | BudgetExhausted), answer
        if isinstance(answer, counts.Answer):
            told.setdefault(width, set()).add(answer)
    assert len(told) == 4
    assert all(len(same) == 1 for same in told.values())
    assert (await budget(store, acme)).spent.epsilon == 2


async def test_what_was_drawn_is_not_kept_if_the_budget_went_meanwhile(store, acme, rows):
    drawn = counts.anonymise(await counted(store, acme, ASKING))
    await set_budget(store, 0.4)
    with pytest.raises(BudgetExhausted):
        await store.write(counts.keep, drawn=drawn)
    assert await rows("SELECT count(*) FROM answers") == [(0,)]
    await set_budget(store, 0.5)
    answer = await store.write(counts.keep, drawn=drawn)
    await set_budget(store, 0)
    assert await store.write(counts.keep, drawn=drawn) == answer  # It is paid for.


async def test_a_change_leaves_an_event_with_both_budgets(store, acme):
    await answer_to(store, acme, ASKING)
    assert (await set_budget(store, 30)).epsilon == 30
    await set_budget(store, 30)
    _declared, event = await store.read(events.page, organization_id=acme.tenant, after=0, most=10)
    assert (event.action, event.object) == ("dataset.budget_set", events.Object("dataset", "heights"))
    assert (event.before, event.after) == ({"epsilon": 20.0}, {"epsilon": 30.0})
    assert (await budget(store, acme)).spent.epsilon == 0.5


@pytest.mark.parametrize("epsilon", [-1, -1e-9, 1e7, float("inf"), float("nan")])
async def test_what_is_no_budget_is_refused(store, acme, epsilon):
    with pytest.raises(InvalidFields) as refusal:
        await set_budget(store, epsilon)
    assert [fault.field for fault in refusal.value.faults] == ["epsilon"]


async def test_budgets_of_what_is_unknown_are_not_found(store, acme):
    with pytest.raises(OrganizationNotFound):
        await set_budget(store, 1, organization="nobody")
    for name in ("nothing", "", "a\0"):
        with pytest.raises(DatasetNotFound):
            await set_budget(store, 1, dataset=name)
