"""The shipped catalogue: dated rows, prices through `Price`, unknown stays unknown."""

from __future__ import annotations

import datetime
from importlib import resources

import pytest

from cnroute import catalogue
from cnroute.money import Price
from cnroute.providers.dashscope.models import family_of

VENDORS = sorted(
    file.name.removesuffix(".toml") for file in resources.files(catalogue).iterdir() if file.name.endswith(".toml")
)


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_row_is_dated_and_sourced(vendor: str) -> None:
    """A row without a date or a source says nothing."""
    rows = catalogue.models(vendor)
    assert rows
    for row in rows:
        assert row.as_of is not None
        assert datetime.date.fromisoformat(row.as_of)
        assert row.source
        assert row.status
        for number in (row.context, row.max_output):
            assert number is None or number > 0
        if row.price is not None:
            assert isinstance(row.price, Price)
            assert row.price.as_of
            assert row.price.source


def test_names_are_unique() -> None:
    """One row a model."""
    names = [row.name for row in catalogue.models("dashscope")]
    assert len(set(names)) == len(names)


def test_dashscope_ships_no_price() -> None:
    """Yi and abab had free grants only: the price is unknown, never 0."""
    assert all(row.price is None for row in catalogue.models("dashscope"))


def test_limits_agree_with_what_the_provider_checks() -> None:
    """The catalogue and the provider's table name the same highest `max_tokens`."""
    for row in catalogue.models("dashscope"):
        assert row.max_output == family_of(row.name).max_tokens


def test_models_of_one_provider() -> None:
    """A row without `providers` serves every provider of its vendor."""
    assert {row.name for row in catalogue.models("dashscope", provider="dashscope")} == {
        row.name for row in catalogue.models("dashscope")
    }
    assert all(row.provider == "dashscope" for row in catalogue.models("dashscope", provider="dashscope"))


def test_an_unknown_vendor() -> None:
    """There is no file for it."""
    with pytest.raises(FileNotFoundError):
        catalogue.models("acme")
