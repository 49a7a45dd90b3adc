"""Trunk prefixes: what is dialled before a number within its country, and never from abroad.

`phonenumbers` knows them too. Here they are a table of our own, since a workflow normalises its
message's recipient at every replay: the answer must not change with a release of the library. A
test holds the two against each other.
"""

import re

# The country codes in which it is a zero. Elsewhere a zero belongs to the number (Italy, Ivory
# Coast), and two zeros begin a freephone number in Japan or Korea.
_CODES = """
    20 27 31 32 33 40 41 43 44 46 49 51 53 54 55 57 58 60 61 62 63 64 66 81 82 84 86 90 91 92 93 94
    95 98 211 212 213 218 231 232 233 234 243 249 251 252 254 255 256 260 261 262 263 264 265 291
    353 355 358 359 370 373 374 375 377 380 381 382 383 385 386 387 389 421 423 508 590 591 593 594
    595 596 598 686 850 855 856 880 886 961 962 963 964 966 967 970 971 972 976 977 994 995 996
"""
_ZERO = frozenset(_CODES.split())
# Digits that begin other numbers too, and are a prefix where those after them are a whole number.
_OTHERS = re.compile(
    r"\+(?:1(?=1\d{10}$)"
    r"|7(?=8\d{10}$)"
    r"|36(?=06)"
    r"|54(?=\d{12}$)\d{2,4}15"  # within Argentina mobiles have a 15, and from abroad a 9
    r"|241(?=0\d{8}$)"
    r"|250(?=0\d{9}$)"
    r"|370(?=8\d{8}$)"
    r"|375(?=8(?:0?1[5-7]|0?[2-4]\d|[89]0\d)\d{7}$)"
    r"|692(?=1\d{7}$)"
    r"|993(?=8\d{8}$))",
    re.ASCII,
)


def has_trunk_prefix(number: str) -> bool:
    """Whether an E.164 number goes on after its country code as it is dialled within the country.

    `+4407911123456` is so written, and means +447911123456.
    """
    for end in (3, 4):
        if number[end] == "0" != number[end + 1] and number[1:end] in _ZERO:
            return True
    return _OTHERS.match(number) is not None
