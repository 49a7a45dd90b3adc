import csv

from devtools.look_alikes import TABLE, look_alikes

CONFUSABLES = """
# a comment
0405 ;\t0053 ;\tMA\t# ( Ѕ → S )
0422 ;\t0054 ;\tMA\t# ( Т → T )
041E ;\t004F ;\tMA\t# ( О → O )
0406 ;\t006C ;\tMA\t# ( І → l )
0456 ;\t0069 ;\tMA\t# ( і → i )
2223 ;\t006C ;\tMA\t#* ( ∣ → l )
06D6 ;\t0613 ;\tMA\t# a mark
""".splitlines()  # noqa: RUF001 - the letters are the point


def test_both_cases_of_a_letter_are_read_alike() -> None:
    """Unicode's list has the capital te only; texts are compared in capitals."""
    found = look_alikes(CONFUSABLES)

    assert ("S", "T", "T", "I", "I") == tuple(found[each] for each in "ЅТтІі")


def test_letters_that_the_list_lacks_are_known_by_their_names() -> None:
    """Small capitals, letters in circles and squares, crossed ones."""
    found = look_alikes(CONFUSABLES)

    assert "STOP" == "".join(found[each] for each in "🅢ᴛ🅾Ᵽ")


def test_signs_that_separate_words_are_no_letters() -> None:
    """A vertical bar looks like an l, but stands between words."""
    assert "∣" not in look_alikes(CONFUSABLES)  # noqa: RUF001


def test_no_plain_letter_is_read_as_another() -> None:
    """Each row of the table is about a character beyond ASCII, except the dollar sign."""
    with TABLE.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))

    assert ["$"] == [
        chr(int(row["code_point"], 16)) for row in rows if int(row["code_point"], 16) < 128
    ]
    assert all(
        (row["read_as"].isascii() and row["read_as"].isupper()) or row["read_as"].isdigit()
        for row in rows
    )
