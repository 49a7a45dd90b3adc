import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signedfor.twilio.keywords import InboundKind, classify_inbound

STOP, START, HELP = InboundKind.STOP, InboundKind.START, InboundKind.HELP
REVIEW, OTHER = InboundKind.REVIEW, InboundKind.OTHER

STOP_WORDS = ["STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"]
WORDS = {
    **dict.fromkeys([*STOP_WORDS, "OPT OUT", "OPT-OUT"], STOP),
    **dict.fromkeys(["START", "YES", "UNSTOP"], START),
    **dict.fromkeys(["HELP", "INFO"], HELP),
}

SPELLINGS = {
    "Stop.": STOP,
    "  stop \r\n": STOP,
    "STOP!!!": STOP,
    '"stop"': STOP,
    "«Stop»": STOP,
    "stop 🛑": STOP,
    "🙏🏽 STOP 🙏🏽": STOP,
    "\u200bst\u200dop\u2060": STOP,
    "\u202eSTOP\u202c": STOP,
    "st\u00adop": STOP,
    "＇ＳＴＯＰ＇": STOP,  # noqa: RUF001 - full-width on purpose
    "𝐒𝐓𝐎𝐏": STOP,  # noqa: RUF001 - styled letters on purpose
    "ﬆop": STOP,
    "S.T.O.P": STOP,
    "S̶T̶O̶P̶": STOP,
    "Stóp": STOP,
    "stop all": STOP,
    "Stop stop STOP": STOP,
    "Opt out!": STOP,
    "unsubscrıbe": STOP,  # noqa: RUF001 - the Turkish dotless i on purpose
    "UNSUBSCRİBE": STOP,
    "quİt": STOP,
    "yes!": START,
    "ＳＴＡＲＴ": START,  # noqa: RUF001 - full-width on purpose
    "İnfo?": HELP,
    "ınfo": HELP,  # noqa: RUF001 - the Turkish dotless i on purpose
    "please stop texting me": REVIEW,
    "stop please": REVIEW,
    "STOP2": OTHER,
    "stop 2": REVIEW,
    "I want to opt out now": REVIEW,
    "how do I opt-out?": REVIEW,
    "Please cancel, I moved": REVIEW,
    "See you at the end of the day": REVIEW,
    "stop or start": REVIEW,
    "non-stop": REVIEW,
    "un stop": REVIEW,
    "STOP UNSTOP": REVIEW,
    "s t a r t": OTHER,
    "yes yes": OTHER,
    "help me": OTHER,
    "yes please": OTHER,
    "start tomorrow": OTHER,
    "we opt in and go out": OTHER,
    "the bus stopped": OTHER,
    "weekend": OTHER,
    "I'll be there at five": OTHER,
    "": OTHER,
    " \u200b…": OTHER,
    "👍": OTHER,
}


@pytest.mark.parametrize(("word", "kind"), WORDS.items())
@pytest.mark.parametrize("spelled", [str.upper, str.lower, str.title])
def test_a_keyword_on_its_own_is_recognized(word: str, kind: InboundKind, spelled: object) -> None:
    """Upper and lower case do not matter."""
    assert callable(spelled)
    assert kind is classify_inbound(spelled(word), None)


@pytest.mark.parametrize(("body", "kind"), SPELLINGS.items(), ids=ascii)
def test_a_body_is_read_as_a_person_would_read_it(body: str, kind: InboundKind) -> None:
    """Decoration does not matter; a stop word inside a phrase is for a person to review."""
    assert kind is classify_inbound(body, None)


@pytest.mark.parametrize(
    ("opt_out_type", "kind"), [("STOP", STOP), ("START", START), ("HELP", HELP), ("stop", STOP)]
)
@pytest.mark.parametrize("body", ["ARRÊT", "STOP", "START", "HELP", "anything at all", ""])
def test_twilios_opt_out_type_decides(opt_out_type: str, kind: InboundKind, body: str) -> None:
    """If Twilio has classified the message, its body does not matter."""
    assert kind is classify_inbound(body, opt_out_type)


@pytest.mark.parametrize("opt_out_type", [None, "", " ", "SOMETHING NEW"])
def test_without_an_opt_out_type_the_body_decides(opt_out_type: str | None) -> None:
    """A missing or unknown OptOutType does not hide a STOP."""
    assert STOP is classify_inbound("stop", opt_out_type)


@given(st.sampled_from(sorted(WORDS)), st.data())
def test_decoration_does_not_change_a_keyword(word: str, data: st.DataObject) -> None:
    """Punctuation, spaces, emoji and invisible characters around a keyword are ignored."""
    decoration = st.text(
        alphabet=" .,;:!?'\"()*-_\t\n\u00a0\u200b\u200d\ufeff\u202a…👍❤️", max_size=6
    )
    before, after = data.draw(decoration), data.draw(decoration)

    assert WORDS[word] is classify_inbound(before + word + after, None)


@given(st.text(max_size=60), st.sampled_from(STOP_WORDS), st.text(max_size=60))
@example(before="un", word="STOP", after="")
def test_a_stop_word_in_a_phrase_is_never_ignored(before: str, word: str, after: str) -> None:
    """Whatever the words around it, it is an opt-out or for a person to review."""
    assert classify_inbound(f"{before} {word.lower()} {after}", None) in {STOP, REVIEW}


@given(st.text(max_size=200), st.none() | st.text(max_size=8))
def test_any_body_can_be_classified(body: str, opt_out_type: str | None) -> None:
    """No text raises an error."""
    assert classify_inbound(body, opt_out_type) in InboundKind
