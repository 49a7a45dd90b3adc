"""Media URLs that Twilio can fetch, and those that it cannot or should not."""

import time
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from signedfor.contract import MessageRequest
from signedfor.contract.fields import problems_in
from signedfor.twilio.media_urls import media_url_problem

GOOD = [
    "https://m.example/1.png",
    "http://media.example.com:8080/a/b.jpg?size=2&x=%20#top",
    "HTTPS://M.EXAMPLE.COM./",
    "https://a_b-c.example.co.uk",
    "https://xn--bcher-kva.example/",
    "https://cdn.example/фото.png",
    "https://8.8.8.8/a.png",
    "https://[2606:4700:4700::1111]/a.png",
]
BAD = {
    "": "absolute",
    "m.example/1.png": "absolute",
    "ftp://m.example/": "absolute",
    "javascript:alert(1)": "absolute",
    "//m.example/1.png": "absolute",
    "https:m.example/1.png": "absolute",
    "https://": "is none",
    "https:///path": "is none",
    "https://:443/": "is none",
    "https://value": "is none",
    "https://-a.example/": "is none",
    "https://a-.example/": "is none",
    "https://a..example/": "is none",
    "https://.example/": "is none",
    "https://a!b.example/": "is none",
    "https://m.example:0/": "is none",
    "https://m.example:99999/": "is none",
    "https://m.example:port/": "is none",
    "https://m.example.123/": "is none",
    "https://[::1/": "is none",
    "https://[v1.x]/": "is none",
    f"https://{'a' * 64}.example/": "is none",
    f"https://{'a.' * 130}example/": "is none",
    f"https://m.example/{'a' * 2000}": "longer",
    "https://user@m.example/": "user name",
    "https://user:value@m.example/": "user name",  # pragma: allowlist secret
    "https://8.8.8.8\\@m.example/": "backslash",
    "https://m.example\\.evil.example/": "backslash",
    "https://localhost/": "inside",
    "https://LOCALHOST./": "inside",
    "https://a.localhost:8080/": "inside",
    "https://printer.local/": "inside",
    "http://metadata.google.internal/computeMetadata/v1/": "inside",
    "https://127.0.0.1/": "not public",
    "https://127.0.0.1:8080/": "not public",
    "https://127.1/": "is none",
    "https://2130706433/": "is none",
    "https://0x7f000001/": "is none",
    "https://0x7f.0.0.1/": "is none",
    "https://0177.0.0.1/": "is none",
    "https://0.0.0.0/": "not public",
    "https://10.1.2.3/": "not public",
    "https://172.31.255.255/": "not public",
    "https://192.168.0.1/": "not public",
    "https://100.100.100.200/": "not public",
    "http://169.254.169.254/latest/meta-data/": "not public",
    "https://224.0.0.1/": "not public",
    "https://255.255.255.255/": "not public",
    "https://[::1]/": "not public",
    "https://[::]/": "not public",
    "https://[::ffff:127.0.0.1]/": "not public",
    "https://[64:ff9b::7f00:1]/": "not public",
    "https://[2002:7f00:1::]/": "not public",
    "https://[fd00:ec2::254]/": "not public",
    "https://[fe80::1%25eth0]/": "not public",
    "https://[fe80::1]/": "not public",
    "https://m.example/a b": "invisible",
    "https://m.example/a\tb": "invisible",
    "https://m.exa\nmple/": "invisible",
    "https://m.example/\x00": "invisible",
    "https://m.example/\u200b": "invisible",
    "https://m.example/\u202egnp.exe": "invisible",
    "https://m.exam\u00adple/": "invisible",
    "https://m.example/\ud800": "invisible",
    " https://m.example/": "invisible",
    "https://\uff11\uff12\uff17.0.0.1/": "ASCII",
    "https://\u0435xample.com/": "ASCII",
    "https://m\u3002example/": "ASCII",
}


@pytest.mark.parametrize("url", GOOD)
def test_a_public_url_is_accepted(url: str) -> None:
    """With any path and query."""
    assert media_url_problem(url) is None


@pytest.mark.parametrize(("url", "problem"), BAD.items())
def test_another_url_is_refused(url: str, problem: str) -> None:
    """The text says why, and repeats nothing of it."""
    found = media_url_problem(url) or ""

    assert problem in found
    assert "value" not in found


def test_a_bad_url_is_named_by_field_and_index() -> None:
    """Each of them."""
    with pytest.raises(ValidationError) as caught:
        MessageRequest(to="+15558675309", media_urls=[GOOD[0], "http://169.254.169.254/", "x"])

    assert ["media_urls.1", "media_urls.2"] == [field for field, _ in problems_in(caught.value)]


@given(st.ip_addresses())
def test_no_address_is_accepted_that_python_calls_private(address: object) -> None:
    """Our table may refuse more than that of this release of Python."""
    host = f"[{address}]" if ":" in str(address) else str(address)
    problem = media_url_problem(f"https://{host}/")

    assert problem is not None or ip_address(str(address)).is_global


@given(st.text(max_size=100), st.text(max_size=30))
def test_any_text_is_answered(host: str, path: str) -> None:
    """Without an error."""
    media_url_problem(f"https://{host}/{path}")
    media_url_problem(host)


@pytest.mark.parametrize("character", ["a", ".", "%", "[", "@", "-", ":", "\u0435", "\ud800"])
def test_a_long_text_is_answered_at_once(character: str) -> None:
    """Whatever it is made of."""
    started = time.perf_counter()
    for url in (
        character * 65_536,
        f"https://{character * 1990}",
        f"https://a.b{character * 1980}",
    ):
        media_url_problem(url)

    assert time.perf_counter() - started < 0.1
