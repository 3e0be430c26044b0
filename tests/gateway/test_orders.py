"""Orders: what each comes to, and which are refused with what to try."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.config import Alias, Backend, Config, Target
from penstock.config_auth import CallerEntry
from penstock.errors import BadRequest
from penstock.gateway import orders
from penstock.gateway.switched import dead, first, follows, overridden, spelled, unusable
from penstock.state.switch import Canary, Rules, Switch
from penstock.types import Kind, Operation

OLLAMA, VLLM = Target(backends=("spare",), model="llama3.2"), Target(backends=("gpu-0", "gpu-1"), model="big")
CONFIG = Config(
    backends={
        "spare": Backend(kind=Kind.OLLAMA, url="http://127.0.0.1:9"),
        "gpu-0": Backend(kind=Kind.VLLM, url="http://127.0.0.1:9"),
        "gpu-1": Backend(kind=Kind.VLLM, url="http://127.0.0.1:9"),
    },
    aliases={"m": Alias(also=("em",), targets=(OLLAMA, VLLM))},
    callers={"rag": CallerEntry(tenant="t", key_sha256="ab" * 32)},
)
PLAIN = Switch(alias="m")


def start(before: Switch = PLAIN, /, **fields: Any) -> orders.Outcome:  # noqa: ANN401 - any field of an order
    order = orders.Start(alias="m", **({"to": "1", "steps": (5.0,)} | fields))
    return orders.start(CONFIG, before, order, who="uid 1 (ann)", now=7.0, identity="c1")


def running(**fields: Any) -> Switch:  # noqa: ANN401 - likewise
    return start(PLAIN, **fields)[0]


@pytest.mark.parametrize("to", ["1", "gpu-0,gpu-1:big", "gpu-1"])
def test_a_target_is_named_by_number_in_full_or_by_a_backend(to: str) -> None:
    after, event = start(to=to)
    assert after.canary == Canary(id="c1", target=VLLM, steps=(5.0,), since=7.0)
    assert event.detail == {"canary": "c1", "to": "gpu-0,gpu-1:big", "percent": "5"}
    assert (event.what, event.who, event.alias) == ("canary start", "uid 1 (ann)", "m")


def test_a_model_name_may_hold_colons_and_a_target_need_not_be_in_the_file() -> None:
    canary = running(to="spare:llama3.1:8b").canary
    assert canary is not None
    assert canary.target == Target(backends=("spare",), model="llama3.1:8b")


def test_a_group_without_a_share_is_all_of_it() -> None:
    canary = running(steps=(), services=("rag",)).canary
    assert canary is not None
    assert (canary.percent, canary.last) == (100.0, True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"to": "0"}, "spare:llama3.2 is its first target already"),
        ({"to": "2"}, "'2' names no target"),
        ({"to": "gpu-9:big"}, "'gpu-9' is no backend"),
        ({"to": "gpu-0,spare:big"}, "mixes the kinds ollama and vllm"),
        ({"steps": ()}, "neither a share nor a group"),
        ({"steps": (5.0, 5.0), "every": 1.0}, "do not rise"),
        ({"steps": (5.0, 50.0)}, "no time for each"),
        ({"steps": (101.0,)}, "beyond 0 to 100"),
        ({"steps": tuple(range(1, 40)), "every": 1.0}, "39 steps"),
        ({"promote": True}, "no time to wait"),
        ({"callers": ("rga",)}, "did you mean 'rag'"),
        ({"services": ("a\nb",)}, "cannot be a service's name"),
        ({"services": tuple(map(str, range(99)))}, "more than 50 names"),
        ({"max_error_rate": 1.0}, "failures beyond 0 to 1"),
        ({"max_p95_ratio": 0.5}, "below the old path's"),
        ({"min_requests": 0}, "0 requests for a step"),
        ({"window": 0.0}, "without length"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        start(**fields)
    assert words in refused.value.message
    assert refused.value.hint


def test_starting_again_changes_the_share_or_adds_to_the_group() -> None:
    """S3.14: one service after the other."""
    after, event = start(running(), steps=(50.0,))
    assert after.canary is not None
    assert (after.canary.percent, event.what) == (50.0, "canary widen")
    one = running(steps=(), services=("rag",))
    two, event = start(one, steps=(), services=("notes", "rag"), callers=("rag",))
    assert two.canary is not None
    assert (two.canary.services, two.canary.callers) == (("rag", "notes"), ("rag",))
    assert event.detail["services"] == "rag notes"


def test_starting_again_keeps_the_rules_that_it_does_not_name() -> None:
    before = running(max_error_rate=0.1, window=60.0)
    assert before.canary is not None
    assert before.canary.rules == Rules(max_error_rate=0.1, window=60.0)
    after = start(before, steps=(50.0,), min_requests=7)[0].canary
    assert after is not None
    assert after.rules == Rules(max_error_rate=0.1, window=60.0, min_requests=7)


def test_one_canary_at_a_time() -> None:
    with pytest.raises(BadRequest, match="runs already"):
        start(running(), to="spare:other")
    with pytest.raises(BadRequest, match="everybody takes part"):
        start(running(), steps=(), services=("rag",))


def test_steps_then_promotion_then_rollback() -> None:
    before = running(steps=(5.0, 100.0), every=60.0, promote=True)
    assert before.canary is not None
    grown, event = orders.step(before, before.canary, now=99.0, reason="fine")
    assert grown.canary is not None
    assert (grown.canary.percent, grown.canary.since, grown.canary.last) == (100.0, 99.0, True)
    assert (event.who, event.reason) == ("gateway", "fine")
    promoted, event = orders.promote(grown, who="gateway")
    assert promoted == Switch(alias="m", override=VLLM)
    plain, event = orders.rollback(promoted, who="uid 1")
    assert plain.plain
    assert event.reason == "removed: the promoted target gpu-0,gpu-1:big"
    assert orders.rollback(plain, who="uid 1")[1].reason == "nothing was switched"


def test_a_rollback_takes_the_canary_and_what_was_promoted_before_it() -> None:
    before = start(Switch(alias="m", override=VLLM), to="spare:small")[0]
    assert orders.stop(before, who="x", reason="")[0] == Switch(alias="m", override=VLLM)
    plain, event = orders.rollback(before, who="x")
    assert plain.plain
    assert event.reason == "removed: the canary to spare:small and the promoted target gpu-0,gpu-1:big"


def test_what_does_not_run_is_not_stopped() -> None:
    for order in (orders.stop, orders.promote):
        with pytest.raises(BadRequest, match="none runs"):
            order(PLAIN, who="x", reason="")


def test_the_promoted_target_comes_first_and_once() -> None:
    switch = Switch(alias="m", override=VLLM)
    assert overridden(CONFIG, {"m": switch})["m"].targets == (VLLM, OLLAMA)
    assert overridden(CONFIG, {"m": PLAIN, "gone": switch})["m"].targets == (OLLAMA, VLLM)
    assert first(CONFIG.aliases["m"], OLLAMA).targets == (OLLAMA, VLLM)


def test_what_cannot_be_asked_any_more_is_not_obeyed() -> None:
    lost = Target(backends=("gone",), model="m")
    assert overridden(CONFIG, {"m": Switch(alias="m", override=lost)})["m"].targets == (OLLAMA, VLLM)
    canary = Canary(id="c", target=lost, steps=(5.0,), since=0.0)
    switches = {"m": Switch(alias="m", canary=canary), "n": Switch(alias="n", canary=canary), "o": PLAIN}
    told = {switch.alias: why for switch, why in dead(CONFIG, switches)}
    assert "'gone' is no backend" in told["m"]
    assert told["n"] == "the alias 'n' is not configured any more"
    assert list(told) == ["m", "n"]
    assert unusable(CONFIG, VLLM) == ""


def test_vectors_follow_only_to_the_same_model() -> None:
    """X13"""
    alias = CONFIG.aliases["m"]
    same = Target(backends=("gpu-0",), model="llama3.2")
    assert [follows(Operation.EMBEDDING, alias, one) for one in (VLLM, same)] == [False, True]
    assert follows(Operation.CHAT, alias, VLLM)


def test_an_alias_by_its_further_name() -> None:
    assert orders.alias_named(CONFIG, "em") == "m"
    with pytest.raises(BadRequest, match="'x' is no alias"):
        orders.alias_named(CONFIG, "x")
    assert spelled(OLLAMA) == "spare:llama3.2"
