"""Notes and reasons: what people write down about an action. All who may look can read them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from signedfor.consent import MAX_EVIDENCE, check_text
from signedfor.errors import BadInput
from signedfor.masks import check_no_number, contains_an_end_of


def check_note(recipient: str, text: str, *, field: str = "evidence") -> None:
    """Refuse a note or reason that cannot be stored, or has the person's number: all may read it.

    Raises:
        BadInput: names the field.
    """
    check_note_on([recipient], text, field=field, whose="the person's")


def check_note_on(recipients: Iterable[str], text: str, *, field: str, whose: str) -> None:
    """As `check_note`, for what concerns many people.

    Raises:
        BadInput: names the field.
    """
    with store_errors():
        check_text(field, text, max_length=MAX_EVIDENCE)
    if contains_an_end_of(text, recipients):
        raise BadInput([(field, f"must not contain {whose} number")])
    check_no_number(text, field=field)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn what the store rejects into bad input; its text names the field."""
    try:
        yield
    except ValueError as error:
        name, _, what = str(error).partition(": ")
        raise BadInput([(name, what)]) from None
