import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signedfor.contract import InboundKind
from signedfor.twilio import keywords
from signedfor.twilio.classifier import classify_inbound
from signedfor.twilio.letters import plain, words

STOP, START, YES, HELP = InboundKind.STOP, InboundKind.START, InboundKind.YES, InboundKind.HELP
REVIEW, OTHER = InboundKind.REVIEW, InboundKind.OTHER

with Path(keywords.__file__).with_name("words.csv").open(encoding="utf-8", newline="") as table:
    ROWS = list(csv.DictReader(table))
WORDS = {row["word"]: InboundKind(row["meaning"]) for row in ROWS}
STOP_WORDS = [word for word, kind in WORDS.items() if kind is STOP]
TWILIOS = ["STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"]

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
    "help help help": HELP,
    "s t o p please": STOP,
    "S̶T̶O̶P̶": STOP,
    "Stóp": STOP,
    "stop all": STOP,
    "Stop stop STOP": STOP,
    "Opt out!": STOP,
    "unsubscrıbe": STOP,  # noqa: RUF001 - the Turkish dotless i on purpose
    "UNSUBSCRİBE": STOP,
    "quİt": STOP,
    "END ALL": STOP,
    "Stop all texts now, please": STOP,
    "Unsubscribe please and thank you": STOP,
    "ok stop": STOP,
    "alto ya": STOP,
    "STOPSTOPSTOP": STOP,
    "stoptextsnow": STOP,
    "opt ot": STOP,
    "me désabonner": STOP,
    "wypisz się": STOP,
    "Stop a.u.b.": STOP,
    "BAJAAA": STOP,
    "stop now stop": STOP,
    "STOP2QUIT": STOP,
    "#stop": STOP,
    "s*op": STOP,
    "st+p": STOP,
    "退订谢谢": STOP,
    "수신거부 해주세요": STOP,
    "🛑": STOP,
    "🛑 🛑": STOP,
    "🛑👍": OTHER,
    "🛑🙏": STOP,
    "🛑 please": STOP,
    "🚫": OTHER,
    "STOP, kind regards": STOP,
    "Stop. Thanks so much!": STOP,
    "reply stop": STOP,
    "unsubcribe me now please": STOP,
    "sto[": STOP,
    "bitte umgehend abmelden": STOP,
    "the end": OTHER,
    "stop and unsubscribe": STOP,
    "stop or start now": REVIEW,
    "STOP!!!1": STOP,
    "stop today": STOP,
    "STOP IT!!": STOP,
    "stop. stop it now": STOP,
    "cancel it": OTHER,
    "cancel today": OTHER,
    "lopeta heti": STOP,
    "配信停止をお願いします": STOP,
    "Fermatevi": STOP,
    "desuscribirme gracias": STOP,
    "terminate": REVIEW,
    "a stop": OTHER,
    "halp lol": OTHER,
    "all texts": OTHER,
    "ok start": OTHER,
    "yes!": YES,
    "ＳＴＡＲＴ": START,  # noqa: RUF001 - full-width on purpose
    "Start, please": START,
    "İnfo?": HELP,
    "ınfo": HELP,  # noqa: RUF001 - the Turkish dotless i on purpose
    "STOP2": REVIEW,
    "stop 2": REVIEW,
    "stop or start": REVIEW,
    "un stop": REVIEW,
    "STOP UNSTOP": REVIEW,
    "s t a r t": OTHER,
    "START START": START,
    "yes yes": OTHER,
    "yes please": OTHER,
    "start tomorrow": OTHER,
    "we opt in and go out": OTHER,
    "the bus stopped": OTHER,
    "weekend": OTHER,
    "no": OTHER,
    "no thanks": OTHER,
    "I'll be there at five": OTHER,
    "": OTHER,
    " \u200b…": OTHER,
    "👍": OTHER,
}

LOOK_ALIKES = {
    "ЅТОР": "Cyrillic",  # noqa: RUF001 - on purpose, as below
    "ѕтор": "small Cyrillic",
    "SΤΟΡ": "Greek",  # noqa: RUF001
    "ꜱᴛᴏᴘ": "small capitals",
    "ŞŦØƤ": "crossed and hooked",
    "Ⓢⓣⓞⓟ": "circled",
    "🅢🅣🅞🅟": "circled, white on black",
    "🆂🆃🅾🅿": "squared",
    "🄢🄣🄞🄟": "in parentheses",
    "🇸 🇹 🇴 🇵": "regional indicators",
    "ＳTОР": "mixed",  # noqa: RUF001
    "ST0P": "a digit",
    "$TOP": "a dollar sign",
    "UNSUВSCRІBE": "two Cyrillic letters in a long word",  # noqa: RUF001
    "СТОП": "the Russian word itself",
}

MISSPELLED = {
    **dict.fromkeys(
        ["SOTP", "stpo", "STOOP", "stoppppp", "sstop", "stoip", "STOPO", "dtop", "stp"], STOP
    ),
    **dict.fromkeys(
        ["unsubscirbe", "Unsubscibe", "cancle", "STOPALLL", "UNSUBSCRIBEE", "ABMLEDEN"], STOP
    ),
    **dict.fromkeys(["qiut", "arert", "detenre", "UNSUBB"], STOP),
    # A short keyword, a key below or above the right one, a digit for a letter.
    **dict.fromkeys(["endd", "enx", "STOP0", "st9p", "5T0P", "S70P"], STOP),
    **dict.fromkeys(["canselar", "desuscirbir", "abmelen", "stio", "sopt", "unsuscribbe"], STOP),
    # A slip in a short word of another language.
    **dict.fromkeys(["bajq", "altp"], REVIEW),
    # An inflected form, perhaps.
    **dict.fromkeys(["stops", "stopped", "sto", "atop"], REVIEW),
    # Words of their own.
    **dict.fromkeys(["step", "shop", "spot", "stow", "stomp", "quite", "quiet"], OTHER),
    **dict.fromkeys(["cancer", "cancelled", "remote", "quits", "star", "send", "and"], OTHER),
    **dict.fromkeys(["alot", "salto", "caja", "bajo", "alta", "auto", "cárcel", "stor"], OTHER),
    **dict.fromkeys(["framed", "angular", "proud", "fremover", "hair", "parent"], OTHER),
    **dict.fromkeys(["ends", "bend", "取消订单"], OTHER),
    **dict.fromkeys(["asia", "evoke", "hasta", "pasta", "anmelden", "beendet", "talking"], OTHER),
}

PHRASES = {
    REVIEW: [
        "please stop texting me",
        "I want to opt out now",
        "how do I opt-out?",
        "Please cancel, I moved",
        "Stop. You have the wrong person.",
        "I already replied STOP twice",
        "Would you please STOP all of this",
        "remove me",
        "take my number off your list",
        "don't text me again",
        "don’t txt me",  # noqa: RUF001 - the apostrophe that phones type
        "wrong number",
        "u have the wrong # bro",
        "leave me alone",
        "lose my number",
        "no more msgs pls",
        "not interested",
        "I never signed up for this",
        "stpo textng me",
        "pleasse stop teh texts",
        "ya no me manden mensajes",
        "no quiero recibir más",
        "número equivocado",
        "ne m'envoyez plus de messages",
        "mauvais numéro",
        "bitte keine SMS mehr",
        "lassen Sie mich in Ruhe",
        "pare de me mandar mensagem",
        "non scrivetemi più",
        "geen berichten meer aub",
        "не пишите мне больше",
        "请不要再发了",
        "these texts need to stop",
        "where can I turn these texts off",
        "nomoretexts",
        "nooo more texts",
        "Leave. Me. Alone.",
        "consent revoked",
        "u text me too much",
        "numero ekivocado",
        "ya no kiero k me manden msjs",
        "there's nobody named Marcus here",
        "I got this number last month",
        "please shop texting me",
        "dont sned me these",
        "get me off this lost",
        "any more texting and we sue",
        "toglietemi subito dalla vostra lista",
        "文字不要再发给我",
        "연락하지 마세요",
        "I'm not Jessica",
        "This phone was recently reassigned",
        "do nt text me",
        "who told you to text me",
        "woher haben Sie meine Nummer?",
        "ich widerrufe meine Einwilligung",
        "nie wyrażam zgody na sms",
        "f*ck off",
        "nooo moar texts pls",
        "wrong mumber",
    ],
    OTHER: [
        "cancel my order",
        "I'm not sure",
        "are the doors locked?",
        "was I spending too much",
        "is one of your shops open",
        "let me know when it will be ready",
        "How long does a transfer from China take?",
        "go find out, I'll wait",
        "the tracking number is wrong",
        "the printer quit again",
        "ya no necesito la grúa",
        "please remind me to change the tires",
        "why did my messages stop?",
        "did you lose my number?",
        "do not contact my employer",
        "I can't leave him alone",
        "no texts came through",
        "nobody called me back",
        "they never sent me the link",
        "im tired of waiting",
        "you have the wrong address on file",
        "this isn't working",
        "please keep texting me deals",
        "please cancel my appointment on Friday",
        "end of story",
        "the meeting will end at 5",
        "can you stop by",
        "I'm at the bus stop",
        "a non-stop flight",
        "it won't stop raining",
        "I quit smoking",
        "remove the onions please",
        "don't stop sending these",
        "I don't want to opt out",
        "help me find my parcel",
        "wrong number on the invoice",
        "leave me a voicemail",
        "no more milk, just eggs",
        "See you at the end of the day",
        "quiero cancelar mi cita",
        "la planta baja",
        "por fin",
        "para mañana",
        "je suis à l'arrêt de bus",
        "am Ende der Straße",
        "vou sair agora",
    ],
}

REACTIONS = [
    "Liked “Reply STOP to opt out”",
    "Emphasized “Reply STOP to opt out”",
    "Laughed at “Text STOP to end, please stop texting”",
    'Loved "Reply STOP to cancel"',
    "Removed a like from “Reply STOP to opt out”",
    "👍 to “Reply STOP to opt out”",
    "Reacted 😂 to “Reply STOP to opt out”",
    "Le gustó “Responde BAJA para no recibir más mensajes”",
    "A adoré « STOP au 36180 »",
    "Hat „Antworten Sie STOP“ geliked",
    "Gostou de “Responda PARAR”",
    "Vond “Stuur STOP” leuk",
]


@pytest.mark.parametrize(("word", "kind"), WORDS.items())
@pytest.mark.parametrize("spelled", [str.upper, str.lower, str.title])
def test_a_keyword_on_its_own_is_recognized(word: str, kind: InboundKind, spelled: object) -> None:
    """Upper and lower case do not matter, in any language of the table."""
    assert callable(spelled)
    assert kind is classify_inbound(spelled(word), None)


@pytest.mark.parametrize("word", TWILIOS)
def test_twilios_stop_words_are_listed(word: str) -> None:
    """Twilio stops sending after any of them, so a message after it would be refused."""
    assert WORDS[word] is STOP


@pytest.mark.parametrize("kind", [START, YES])
def test_only_twilio_says_what_opts_in(kind: InboundKind) -> None:
    """A word that Twilio does not know as an opt-in lifts no opt-out."""
    assert {"Twilio, default keywords"} == {row["source"] for row in ROWS if row["meaning"] == kind}


def test_a_word_has_one_meaning() -> None:
    """A word of two languages, such as PARAR, means the same in both."""
    meanings: dict[str, set[str]] = {}
    for row in ROWS:
        meanings.setdefault("".join(words(plain(row["word"]))), set()).add(row["meaning"])

    assert {} == {word: each for word, each in meanings.items() if len(each) > 1}


@pytest.mark.parametrize(("body", "kind"), SPELLINGS.items(), ids=ascii)
def test_a_body_is_read_as_a_person_would_read_it(body: str, kind: InboundKind) -> None:
    """Decoration and courtesy do not matter."""
    assert kind is classify_inbound(body, None)


@pytest.mark.parametrize("body", LOOK_ALIKES, ids=ascii)
def test_letters_that_look_alike_are_the_same(body: str) -> None:
    """What looks like a stop word is one, whatever the letters' script and style."""
    assert STOP is classify_inbound(body, None)


@pytest.mark.parametrize(("body", "kind"), MISSPELLED.items())
def test_one_slip_of_a_finger_does_not_hide_a_stop(body: str, kind: InboundKind) -> None:
    """But no ordinary word becomes a STOP, and an inflected form is for review."""
    assert kind is classify_inbound(body, None)


@pytest.mark.parametrize("polite", ["please", "por favor", "bitte", "svp", "thank you", "hi,"])
@pytest.mark.parametrize("word", ["stop", "unsubscribe", "baja", "arrêt"])
def test_courtesy_does_not_change_a_stop(word: str, polite: str) -> None:
    """A stop word with a please or thank you is the whole message still."""
    assert STOP is classify_inbound(f"{word} {polite}", None)
    assert STOP is classify_inbound(f"{polite} {word}", None)


@pytest.mark.parametrize("body", PHRASES[REVIEW])
def test_a_phrase_that_reads_like_an_opt_out_is_for_review(body: str) -> None:
    """With a stop word or without one, in any case."""
    assert {REVIEW} == {classify_inbound(each, None) for each in (body, body.upper())}


@pytest.mark.parametrize("body", PHRASES[OTHER])
def test_an_ordinary_sentence_needs_no_review(body: str) -> None:
    """A stop word in another sense asks for nothing."""
    assert {OTHER} == {classify_inbound(each, None) for each in (body, body.upper())}


@pytest.mark.parametrize("body", REACTIONS)
def test_a_reaction_that_quotes_our_text_is_no_opt_out(body: str) -> None:
    """The stop word is ours."""
    assert OTHER is classify_inbound(body, None)


def test_a_persons_own_quotation_is_read() -> None:
    """Only the known forms of reactions are skipped."""
    assert REVIEW is classify_inbound("I said “stop texting me”", None)


@pytest.mark.parametrize(
    ("opt_out_type", "kind"), [("STOP", STOP), ("START", START), ("HELP", HELP), ("stop", STOP)]
)
@pytest.mark.parametrize("body", ["ARRÊT", "STOP", "START", "HELP", "anything at all", ""])
def test_twilios_opt_out_type_decides(opt_out_type: str, kind: InboundKind, body: str) -> None:
    """If Twilio has classified the message, its body does not matter."""
    assert kind is classify_inbound(body, opt_out_type)


@pytest.mark.parametrize(("body", "kind"), [("Yes!", YES), ("yes please", START), ("Sí", START)])
def test_a_yes_is_a_yes_whatever_twilio_calls_it(body: str, kind: InboundKind) -> None:
    """To Twilio it is a START; it may as well answer a question of this sender's."""
    assert kind is classify_inbound(body, "START")


@pytest.mark.parametrize("opt_out_type", [None, "", " ", "SOMETHING NEW"])
def test_without_an_opt_out_type_the_body_decides(opt_out_type: str | None) -> None:
    """A missing or unknown OptOutType does not hide a STOP."""
    assert STOP is classify_inbound("stop", opt_out_type)


def test_a_slip_is_read_alike_in_each_process() -> None:
    """Of several words that it may have been, the same one comes first."""
    code = (
        "from signedfor.twilio.slips import Misspelled\n"
        "print(*Misspelled(['MEMBER', 'NUMBER', 'LUMBER']).correct('MUMBER'))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in range(6)
    }

    assert 1 == len(found)


_DECORATION = st.text(alphabet=" .,;:!?'()*-_\t\n\u00a0\u200b\u200d\ufeff\u202a…👍❤️", max_size=6)


@given(st.sampled_from(sorted(WORDS)), _DECORATION, _DECORATION)
def test_decoration_does_not_change_a_keyword(word: str, before: str, after: str) -> None:
    """Punctuation, spaces, emoji and invisible characters around a keyword are ignored."""
    assert WORDS[word] is classify_inbound(before + word + after, None)


@given(
    st.sampled_from([each for each in STOP_WORDS if each.isascii()]),
    st.lists(st.sampled_from(["", "\u0301", "\u0336", "\u200d"]), min_size=40, max_size=40),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_marks_and_case_do_not_change_a_stop(
    word: str, marks: list[str], upper: list[bool]
) -> None:
    """Any letter may have an accent or be struck through, in either case."""
    letters = zip(word, marks, upper, strict=False)
    body = "".join((c if is_upper else c.lower()) + mark for c, mark, is_upper in letters)

    assert STOP is classify_inbound(body, None)


@given(
    st.text(max_size=60),
    st.sampled_from(["unsubscribe", "stop texting me", "remove me from your list"]),
    st.text(max_size=60),
)
@example(before="un", word="unsubscribe", after="")
def test_an_opt_out_in_a_sentence_of_its_own_is_never_ignored(
    before: str, word: str, after: str
) -> None:
    """Whatever the sentences around it, it is an opt-out or for a person to review."""
    assert classify_inbound(f"“{before}” ok. {word}. {after}", None) in {STOP, REVIEW}


@given(st.text(max_size=200), st.none() | st.text(max_size=8))
def test_any_body_can_be_classified(body: str, opt_out_type: str | None) -> None:
    """No text raises an error."""
    assert classify_inbound(body, opt_out_type) in InboundKind


@pytest.mark.parametrize(
    "part",
    [
        "stop ",
        "no ",
        "x",
        "x ",
        "dont ",
        "\ufdfa",
        "no me ",
        "“",
        ". ",
        "a\u0301",
        "take my no ",
        "停",
    ],
    ids=ascii,
)
def test_the_work_grows_with_the_size_of_the_body(part: str) -> None:
    """Twice the body takes about twice the steps, so no body keeps the webhook busy."""
    short, long = (_steps(part * (size // len(part))) for size in (2**10, 2**12))

    assert long < 5 * short


def _steps(body: str) -> int:
    """How many calls of Python functions it takes: unlike time, the same on each machine."""
    count = 0

    def trace(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(trace)
    try:
        classify_inbound(body, None)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("STOP" + " " * 5000, InboundKind.STOP),
        ("HELP" + " " * 5000, InboundKind.REVIEW),
        ("START " * 1000, InboundKind.REVIEW),
        ("word " * 1000, InboundKind.REVIEW),
    ],
)
def test_a_text_that_nobody_can_send_needs_a_person(body: str, kind: InboundKind) -> None:
    """Only its beginning is read, so that no text takes long."""
    assert kind is classify_inbound(body, None)
