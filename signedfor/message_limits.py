"""How many messages may begin in a time: the rules of `MESSAGE_LIMITS`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from signedfor.contract import MessageRequest

MAX_WINDOW: Final = timedelta(days=31)
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_RULE = re.compile(
    r"(?P<counted>person|tenant|category)(?::(?P<name>[A-Za-z0-9][A-Za-z0-9._:-]{0,63}))?"
    r"=(?P<messages>[1-9][0-9]{0,8})/(?P<count>[1-9][0-9]{0,4})(?P<unit>[mhd])",
    re.ASCII,
)


class Counted(StrEnum):
    """Whose messages a rule counts together."""

    PERSON = "person"
    """Those to one person, on all channels."""
    TENANT = "tenant"
    """Those of one tenant; messages without a tenant are those of one more."""
    CATEGORY = "category"
    """Those of one category."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitRule:
    """So many messages may begin within any time of this length."""

    counted: Counted
    name: str | None
    """A category, for a person or in total, or a tenant. None: all that no other rule names."""
    messages: int
    window: timedelta
    text: str
    """As it is written in the setting, such as `person:otp=10/1h`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """A rule, and whose messages it counts together for one message."""

    rule: LimitRule
    key: str
    """Names them; holds no number."""
    person_reference: str | None = None
    """Of the person whose messages they are."""


def parse_rules(text: str) -> tuple[LimitRule, ...]:
    """The rules in a text such as `person=5/24h,person:otp=10/1h,tenant=10000/1d`.

    Raises:
        ValueError: it is something else; the message does not repeat it.
    """
    rules: dict[tuple[Counted, str | None, timedelta], LimitRule] = {}
    for part in text.split(","):
        match = _RULE.fullmatch(part.strip())
        if match is None:
            raise ValueError(
                "must be rules such as person=5/24h, person:otp=10/1h, tenant=10000/1d or "
                "category:marketing=50000/1d, with a window in minutes (m), hours (h) or days (d)"
            )
        rule = LimitRule(
            counted=Counted(match["counted"]),
            name=match["name"],
            messages=int(match["messages"]),
            window=int(match["count"]) * _UNITS[match["unit"]],
            text=match[0],
        )
        if rule.counted is Counted.CATEGORY and rule.name is None:
            raise ValueError("must name the category of a rule: category:marketing=50000/1d")
        if rule.window > MAX_WINDOW:
            raise ValueError(f"must have windows of at most {MAX_WINDOW.days} days")
        key = (rule.counted, rule.name, rule.window)
        if key in rules:
            raise ValueError("must not have two rules that count the same in the same window")
        rules[key] = rule
    return tuple(rules.values())


def limits_of(
    message: MessageRequest, rules: Sequence[LimitRule], *, person_reference: str
) -> list[Limit]:
    """The limits that hold for a message, in an order that is the same for every message.

    A rule that names its category or tenant holds in place of those that name none.
    """
    if not rules:
        return []
    of_person = [rule for rule in rules if rule.counted is Counted.PERSON]
    limits = [
        _limit(rule, f"person:{rule.name or ''}:{person_reference}", person_reference)
        for rule in _naming(message.category, of_person)
    ]
    names = {Counted.TENANT: message.tenant or "", Counted.CATEGORY: message.category}
    limits += [
        _limit(rule, f"{rule.counted}:{names[rule.counted]}")
        for rule in shared_rules(rules, tenant=message.tenant, category=message.category)
    ]
    return sorted(limits, key=lambda limit: limit.key)


def shared_rules(
    rules: Sequence[LimitRule], *, tenant: str | None, category: str | None
) -> list[LimitRule]:
    """The rules that count messages to many people together, such as those of a campaign."""
    of_tenants = [rule for rule in rules if rule.counted is Counted.TENANT]
    of_category = [
        rule for rule in rules if rule.counted is Counted.CATEGORY and rule.name == category
    ]
    return [*_naming(tenant, of_tenants), *of_category]


def _naming(name: str | None, rules: Sequence[LimitRule]) -> Sequence[LimitRule]:
    """The rules that name it; without one, those that name nothing."""
    own = [rule for rule in rules if rule.name is not None and rule.name == name]
    return own or [rule for rule in rules if rule.name is None]


def _limit(rule: LimitRule, who: str, person_reference: str | None = None) -> Limit:
    # With the window: each has buckets of its own length.
    key = f"{who}/{round(rule.window.total_seconds())}"
    return Limit(rule=rule, key=key, person_reference=person_reference)
