import pytest

from signedfor.twilio import ideas
from signedfor.twilio.letters import plain, words


def _ask(clause: str) -> bool:
    return ideas.ask_to_opt_out(words(plain(clause)))


@pytest.mark.parametrize(
    "clause",
    [
        "ya no me manden más mensajes",
        "mensajes no quiero recibir más",
        "je ne veux plus recevoir vos publicités",
        "ich möchte keine Nachrichten mehr bekommen",
        "não quero mais receber propaganda",
        "togliete il mio numero dalla lista",
        "ik wil geen berichten meer",
        "ta bort mig från listan",
        "usuńcie mój numer",
        "удалите мой номер",
        "lütfen mesaj göndermeyin",
        "لا ترسل لي رسائل",
        "请不要给我发短信",
        "もうメールを送らないで",
        "문자 보내지 마세요",
        "retiro mi consentimiento",
        "d'où avez-vous mon numéro",
        "连络不要打扰",
        "I never opted in",
    ],
)
def test_ideas_of_an_opt_out_in_one_clause_are_one(clause: str) -> None:
    """The wordings are not listed: their words are, each with its idea."""
    assert _ask(clause)


@pytest.mark.parametrize(
    "clause",
    [
        "quiero cancelar mi cita",
        "no quiero más cebolla",
        "no me llegó el mensaje",
        "je voudrais annuler ma commande",
        "ich habe keine Nachricht bekommen",
        "não recebi a mensagem",
        "non ho ricevuto il messaggio",
        "不要发票",
        "예약 취소해 주세요",
        "ya no necesito la grúa",
        "my phone is not with me",
        "delete my todo list",
    ],
)
def test_an_ordinary_word_beside_the_ideas_makes_it_no_opt_out(clause: str) -> None:
    """The word of a message with a negation asks for nothing: it may not have come."""
    assert not _ask(clause)


def test_the_ideas_must_be_close_together() -> None:
    """A long clause has words of many ideas."""
    far = "no " + "muy " * 12 + "me manden"

    assert not _ask(far)
    assert _ask("no me manden")


def test_one_word_is_not_two_ideas() -> None:
    """A message about messages needs a second word."""
    assert not _ask("texts")
    assert not _ask("mensajes")
