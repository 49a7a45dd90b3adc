"""Links to people."""

import pytest
from sqlalchemy import Engine

from ops.person_links import PersonLinks
from tests.workflows.fakes import RECIPIENT


@pytest.fixture
def links(sqlite_engine: Engine) -> PersonLinks:
    """Links of a new database."""
    return PersonLinks(sqlite_engine)


@pytest.mark.parametrize(
    "person", [RECIPIENT, "+6901234", "messenger:123", "whatsapp:US." + "1" * 90]
)
def test_a_link_leads_back_to_the_person(person: str, links: PersonLinks) -> None:
    """And does not have the number."""
    token = links.token(person)

    assert person == links.person(token)
    assert person not in links.url(person)
    assert token in links.url(person)


def test_a_person_has_one_link(links: PersonLinks, sqlite_engine: Engine) -> None:
    """Whatever the channel, and in every process: it can be kept."""
    assert links.token(RECIPIENT) == PersonLinks(sqlite_engine).token(f"whatsapp:{RECIPIENT}")


def test_numbers_look_alike(links: PersonLinks) -> None:
    """A short number cannot be told from a long one."""
    assert len(links.token("+6901234")) == len(links.token("+491511234567890"))


@pytest.mark.parametrize("token", ["", "x", "ö", "====", "A" * 48, RECIPIENT])
def test_what_is_no_link_leads_to_nobody(token: str, links: PersonLinks) -> None:
    """Whatever it is."""
    assert links.person(token) is None


@pytest.mark.parametrize("place", [0, 20, -1])
def test_a_changed_link_leads_to_nobody(place: int, links: PersonLinks) -> None:
    """Nobody gets to a person by trying."""
    characters = list(links.token(RECIPIENT))
    characters[place] = "A" if characters[place] != "A" else "B"

    assert links.person("".join(characters)) is None
