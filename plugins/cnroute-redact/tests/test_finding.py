"""What is found in a text, and what is left alone."""

from __future__ import annotations

import pytest
from cnroute_redact.finding import KINDS, find, rules_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from personal import AROUND, PERSONAL, bare, checked_card, checked_identity

RULES = rules_of(("phone", "id", "card", "mail"), {})
IDENTITY = checked_identity("11010519491231002")


def found(text: str) -> list[tuple[str, str]]:
    return [(each.kind, text[each.start : each.end]) for each in find(text, RULES)]


@pytest.mark.parametrize(("text", "kind", "value"), [
    ("13800138000", "phone", "13800138000"),
    ("138 0013 8000", "phone", "13800138000"),
    ("138-0013-8000", "phone", "13800138000"),
    ("1380-0138-000", "phone", "13800138000"),
    ("+8613800138000", "phone", "13800138000"),
    ("+86 138 0013 8000", "phone", "13800138000"),
    ("(+86) 13800138000", "phone", "13800138000"),
    ("0086-13800138000", "phone", "13800138000"),
    ("+86 1 38 00 13 80 00", "phone", "13800138000"),
    ("１３８００１３８０００", "phone", "13800138000"),
    ("＋８６　１３８　００１３　８０００", "phone", "13800138000"),
    ("138\u200b0013\u200b8000", "phone", "13800138000"),
    ("١٣٨٠٠١٣٨٠٠٠", "phone", "13800138000"),
    (IDENTITY, "id", IDENTITY),
    ("110105 19491231 002x", "id", "11010519491231002X"),
    ("１１０１０５１９４９１２３１００２Ｘ", "id", "11010519491231002X"),
    ("110105491231002", "id", "110105491231002"),
    ("4111111111111111", "card", "4111111111111111"),
    ("4111 1111 1111 1111", "card", "4111111111111111"),
    ("4111-1111-1111-1111", "card", "4111111111111111"),
    ("3782 822463 10005", "card", "378282246310005"),
    ("Zhang.San+x@Mail.Example.CN", "mail", "zhang.san+x@mail.example.cn"),
    ("12345678@qq.com", "mail", "12345678@qq.com"),
    ("zhang＠example．com", "mail", "zhang@example.com"),
])  # fmt: skip
def test_a_value_is_found_whole(text: str, kind: str, value: str) -> None:
    """Alone and inside of a sentence, with its normal form."""
    for before, after in (("", ""), ("电话:", "。"), ("tel" if kind != "mail" else "mail:", ","), ("(", ")"), ("\n", "\n")):
        (each,) = find(before + text + after, RULES)
        assert (each.kind, each.value) == (kind, value)
        assert (before + text + after)[each.start : each.end] == text


@pytest.mark.parametrize("text", [
    "订单号 2013800138000123456789",  # longer than any card, with a telephone number inside
    "99138001380001", "138001380001", "12800138000",
    "110105194912310021",  # a wrong check character
    "110105194913310023", "010105491231003", "110105491331003",
    "4111111111111112", "1700000000000", "20240615102301", "00000000000000000",
    "2024-06-15 10:23:01", "3.14159", "192.168.1.1", "v1.38.0", "@user", "a@b", "user@localhost",
])  # fmt: skip
def test_a_look_alike_is_left_alone(text: str) -> None:
    """Order numbers, ids, times, versions, and numbers whose check digit is wrong."""
    assert found(text) == []


def test_the_security_code_beside_a_card_does_not_hide_it() -> None:
    """Groups that belong to no card end it."""
    assert found("4111 1111 1111 1111 123") == [("card", "4111 1111 1111 1111")]
    assert found("12 4111 1111 1111 1111") == [("card", "4111 1111 1111 1111")]


def test_several_values_of_a_text() -> None:
    """In the order in which they stand there."""
    text = f"张三,13800138000,{IDENTITY},a@example.com;李四 +86-139-1234-5678"
    assert [kind for kind, _ in found(text)] == ["phone", "id", "mail", "phone"]


@given(around=st.tuples(AROUND, AROUND), value=PERSONAL)
@settings(deadline=None, max_examples=100)
def test_whatever_is_personal_is_found(around: tuple[str, str], value: str) -> None:
    """Nothing of a made-up value is left in the text; the rest of the text is untouched."""
    text = around[0] + value + around[1]
    left, at = [], 0
    for each in find(text, RULES):
        left.append(text[at : each.start])
        at = each.end
    left.append(text[at:])
    assert bare(value)[-8:] not in bare("".join(left))


@given(st.text())
@example("1" * 5000)
@example("1 " * 5000)
@example("a@" * 5000)
@settings(deadline=None, max_examples=100)
def test_any_text_can_be_searched(text: str) -> None:
    """Whatever stands in a text: what is found lies in it, in order, without overlaps."""
    places = [(each.start, each.end) for each in find(text, rules_of(KINDS, {}))]
    flat = [at for place in places for at in place]
    assert flat == sorted(flat) and all(0 <= start < end <= len(text) for start, end in places)


@given(body=st.text("123456789", min_size=12, max_size=17), more=st.integers(1, 9))
@settings(deadline=None, max_examples=100)
def test_a_number_that_fails_its_check_is_no_card(body: str, more: int) -> None:
    """One wrong digit, and it is an order number: unless it happens to be something else."""
    number = body + str((int(checked_card(body)[-1]) + more) % 10)
    assert not [kind for kind, _ in found(number) if kind == "card"]
