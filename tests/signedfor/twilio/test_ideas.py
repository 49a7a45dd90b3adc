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


@pytest.mark.parametrize(
    "message",
    [
        "j'étais désabonnée depuis mars. Et encore un sms aujourd'hui",
        "heb me al afgemeld en krijg nog steeds berichten",
        "Si vuelven a escribirme los denuncio",
        "Wir sind umgezogen, ihr braucht uns keine Werbung zu senden",
        "was muss ich antworten, damit es aufhört",
        "я уже отписался, но сообщения всё идут",
    ],
)
def test_some_ideas_may_be_in_several_clauses(message: str) -> None:
    """Opt-outs that were ignored, threats, people who moved away, and how to be rid of it."""
    assert ideas.ask_together(words(plain(message)))


@pytest.mark.parametrize(
    "message",
    [
        "ik heb al betaald en krijg nog steeds een herinnering",
        "mi abogado les manda los papeles mañana",
        "Wir sind umgezogen, bitte die neue Adresse notieren",
        "was muss ich antworten um zu bestätigen",
    ],
)
def test_ideas_of_several_clauses_without_all_of_them_are_none(message: str) -> None:
    """Something else still arrives, has a lawyer, has moved or is replied to."""
    assert not ideas.ask_together(words(plain(message)))


@pytest.mark.parametrize(
    "clause",
    [
        "bite keine nachichten mehr schiken",
        "no kiero resivir mas mensages",
        "kiten mi numero de su lizta",
        "non mandatemi piu mesaggi",
    ],
)
def test_a_misspelled_idea_is_read_beside_one_that_is_not(clause: str) -> None:
    """As it sounds, or with one slip."""
    assert ideas.ask_if_misspelled(words(plain(clause)))


def test_misspelled_ideas_alone_say_nothing() -> None:
    """Each may be a word of another language."""
    assert ideas.ask_if_misspelled(words(plain("schluss nachichten")))
    assert not ideas.ask_if_misspelled(words(plain("schlus nachichten")))
