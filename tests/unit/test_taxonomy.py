"""Classes are found by what people write."""

from __future__ import annotations

import pytest

from dsdc.settings import TaxonomySettings
from dsdc.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_settings(
    TaxonomySettings.model_validate(
        {
            "name": "t",
            "prompts": ["a {}"],
            "classes": [
                {"slug": "scientific_report", "name": "Scientific report"},
                {"slug": "cafe", "name": "Café", "prompts": ["the menu of a {}"]},
            ],
        }
    )
)


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("scientific_report", "scientific_report"),
        ("Scientific Report", "scientific_report"),
        ("scientific-report ", "scientific_report"),
        ("CAFE\u0301", "cafe"),
        ("report", None),
        ("", None),
    ],
)
def test_find(text: str, slug: str | None) -> None:
    assert TAXONOMY.find(text) == slug


def test_prompts_are_the_classes_own_or_the_taxonomys() -> None:
    assert [c.prompts for c in TAXONOMY.classes] == [("a scientific report",), ("the menu of a café",)]


def test_a_class_that_left_is_shown_as_it_is() -> None:
    assert TAXONOMY.display("cafe") == "Café"
    assert TAXONOMY.display("memo") == "memo"
