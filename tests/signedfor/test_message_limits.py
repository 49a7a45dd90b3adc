"""The rules of MESSAGE_LIMITS, and which of them hold for a message."""

from datetime import timedelta

import pytest

from signedfor.contract import MessageRequest
from signedfor.message_limits import (
    MAX_WINDOW,
    Counted,
    LimitRule,
    limits_of,
    parse_rules,
    shared_rules,
)

TO = "+15558675309"


def _message(**fields: str) -> MessageRequest:
    return MessageRequest(to=TO, body="x", **fields)


def _holding(rules: str, **fields: str) -> dict[str, str]:
    """The limits of a message with these fields: the rule of each key."""
    limits = limits_of(_message(**fields), parse_rules(rules), person_reference="ref")
    return {limit.key: limit.rule.text for limit in limits}


def test_rules_are_read() -> None:
    """Windows are minutes, hours or days; spaces around a rule do not matter."""
    person, code, tenant, category = parse_rules(
        "person=5/24h, person:otp=10/90m,tenant:acme=500/7d , category:a:b=50000/1d"
    )

    assert person == LimitRule(
        counted=Counted.PERSON,
        name=None,
        messages=5,
        window=timedelta(days=1),
        text="person=5/24h",
    )
    assert ("otp", 10, timedelta(minutes=90)) == (code.name, code.messages, code.window)
    assert (Counted.TENANT, "acme", timedelta(days=7)) == (
        tenant.counted,
        tenant.name,
        tenant.window,
    )
    assert (Counted.CATEGORY, "a:b") == (category.counted, category.name)


@pytest.mark.parametrize(
    "text",
    [
        *("", "person", "person=5", "person=5/h", "person=5/day", "person=0/1h", "person=-1/1h"),
        *("person=5/0h", "person=5/1h,", "person:=5/1h", "sender=5/1h", "person=5/1s"),
        *("category=5/1h", "person=5/32d", "person=5/1h,person=6/1h", "person=5/1h,person=6/60m"),
        *("person=1e3/1h", "person=\u0665/1h", "person: otp=5/1h", "tenant:a=b=5/1h"),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    """The error says what it must be; test_settings.py sees that it repeats nothing."""
    with pytest.raises(ValueError, match=r"^must "):
        parse_rules(text)


def test_two_windows_hold_together() -> None:
    """A few messages a day, and not all of them in one hour."""
    rules = "person=3/1h,person=5/24h"

    assert ["person=3/1h", "person=5/24h"] == sorted(_holding(rules).values())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"person::ref/86400": "person=5/24h"}),
        ({"category": "news"}, {"person::ref/86400": "person=5/24h"}),
        ({"category": "otp"}, {"person:otp:ref/3600": "person:otp=10/1h"}),
    ],
)
def test_a_category_with_a_rule_of_its_own_is_counted_apart(
    fields: dict[str, str], expected: dict[str, str]
) -> None:
    """One-time codes neither use up nor are held up by what else the person gets."""
    assert expected == _holding("person=5/24h,person:otp=10/1h", **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tenant": "other"}, {"tenant:other/86400": "tenant=100/1d"}),
        ({"tenant": "acme"}, {"tenant:acme/3600": "tenant:acme=500/1h"}),
        ({}, {"tenant:/86400": "tenant=100/1d"}),
    ],
)
def test_each_tenant_is_counted_by_itself(fields: dict[str, str], expected: dict[str, str]) -> None:
    """By its own rule if it has one; messages without a tenant are counted as one more."""
    assert expected == _holding("tenant=100/1d,tenant:acme=500/1h", **fields)


def test_a_category_is_counted_in_total() -> None:
    """Besides the rules of persons and tenants; other categories are not."""
    rules = "category:news=9/1d,person=5/24h"

    assert {
        "category:news/86400": "category:news=9/1d",
        "person::ref/86400": "person=5/24h",
    } == _holding(rules, category="news")
    assert ["person=5/24h"] == [*_holding(rules, category="alerts").values()]


def test_some_rules_count_a_campaign_together() -> None:
    """Those of its tenant and of its category; those of persons do not."""
    rules = parse_rules("person=5/24h,tenant=9/1h,tenant:a=8/1h,category:news=7/1d,category:x=6/1d")

    assert ["tenant:a=8/1h", "category:news=7/1d"] == [
        rule.text for rule in shared_rules(rules, tenant="a", category="news")
    ]
    assert ["tenant=9/1h"] == [
        rule.text for rule in shared_rules(rules, tenant=None, category=None)
    ]


def test_limits_are_in_the_same_order_for_every_message() -> None:
    """Two transactions that lock the same two never wait for each other."""
    rules = "tenant=9/1h,person=5/24h,category:news=9/1d"

    keys = [*_holding(rules, category="news", tenant="acme")]

    assert sorted(keys) == keys
    assert 3 == len(keys)


def test_the_key_has_no_number() -> None:
    """It names the person by the keyed reference."""
    (limit,) = limits_of(_message(), parse_rules("person=5/24h"), person_reference="ref")

    assert "ref" == limit.person_reference
    assert TO[1:] not in limit.key


def test_a_window_has_a_greatest_length() -> None:
    """The counts are kept for as long."""
    (rule,) = parse_rules("person=5/31d")

    assert rule.window == MAX_WINDOW
