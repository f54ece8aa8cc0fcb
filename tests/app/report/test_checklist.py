from __future__ import annotations

from medmeta.app.report.checklist import CLAIM, INSIDE, TRIPOD, checklists
from medmeta.app.report.context import ORDER
from medmeta.app.report.words import Words

ENGLISH = Words("en")


def test_all_items_are_there() -> None:
    claim, tripod = checklists(set(), ENGLISH)
    assert [item.number for item in claim.items] == [str(n) for n in range(1, 45)]
    assert len(tripod.items) == 52
    assert {item.number.rstrip("abcdefg") for item in tripod.items} == set(map(str, range(1, 28)))


def test_without_sections_nothing_is_answered() -> None:
    for listed in checklists(set(), ENGLISH):
        assert listed.count("no") == len(listed.items)


def test_what_is_mapped_is_an_item_and_a_section() -> None:
    known = {"summary", *ORDER, *INSIDE}
    for section, told in (("claim", CLAIM), ("tripod", TRIPOD)):
        assert told.keys() <= ENGLISH.section(section).keys()
        for entry in " ".join(told.values()).split():
            assert entry.rstrip("*") in known
    assert set(INSIDE.values()) <= set(ORDER)


def test_in_full_in_part_and_not() -> None:
    claim, _ = checklists({"summary", "results", "explanation"}, ENGLISH)
    items = {item.number: item for item in claim.items}
    assert (items["31"].answered, items["31"].where) == ("yes", (("explanation", "Why"),))
    assert (items["40"].answered, items["40"].where) == ("part", (("summary", "In short"),))
    assert (items["34"].answered, items["34"].where) == ("no", ())
    assert items["28"].where == (("results", "Results"),)


def test_what_only_people_know_is_never_answered() -> None:
    claim, tripod = checklists({"summary", *ORDER, *INSIDE}, ENGLISH)
    silent = {item.number for item in claim.items if item.answered == "no"}
    assert {"5", "14", "16", "34", "44"} <= silent
    silent = {item.number for item in tripod.items if item.answered == "no"}
    assert {"5b", "6c", "17", "18a", "18b", "19"} <= silent
