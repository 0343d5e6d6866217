"""Whose price is taken: four sources in order, each within its dates, and the change at midnight."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from typing import Any

import pytest

import cnroute
from cnroute.config import price_rows
from cnroute.money import Price
from cnroute.routing.prices import PriceBook, by_model, next_change, of_today
from cnroute.testing import FakeClock
from tests.docs.pages import ROOT
from tests.flow.toy import KEY, Toy, ToyProvider, answer, deployment, host, raised

OWN, FILE, PLUGIN, SHIPPED = (Price("CNY", rate, rate, per=1) for rate in ("1", "2", "3", "4"))


class Prices:
    """A plugin with prices."""

    def __init__(self, *rows: Any) -> None:
        self.rows = rows

    @cnroute.hookimpl
    def load_prices(self) -> Any:
        return self.rows


def router(own: Price | None = None, file: Any = (), plugin: Any = (), shipped: Price | None = None, **settings: Any) -> Toy:
    info = cnroute.ModelInfo("toy-1", price=shipped)
    plugins = host(ToyProvider(models=(info,)), Prices(*plugin))
    settings.setdefault("deployments", [deployment("a", price=own)])
    return Toy([answer()], plugins=plugins, prices=file, **settings)


def price_of(toy: Toy, name: str = "a") -> Any:
    return next(info.price for info in toy.router.models() if info.name == name)


@pytest.mark.parametrize("first", range(4))
def test_four_sources_in_their_order(first: int) -> None:
    """The deployment's own, the user's file, plugins, the catalogue; none is unknown."""
    sources = [OWN, FILE, PLUGIN, SHIPPED]
    own, file, plugin, shipped = [None] * first + sources[first:]
    rows = [[("toy", "toy-1", each)] if each is not None else [] for each in (file, plugin)]
    toy = router(own, *rows, shipped)
    assert price_of(toy) == sources[first]
    assert toy.chat().cost.amount == 5 * (first + 1)
    assert price_of(router()) is None


def test_rows_are_for_their_provider_and_model() -> None:
    """Another provider's, or another model's, is nobody's."""
    assert price_of(router(file=[("toy", "toy-2", FILE), ("other", "toy-1", FILE)])) is None


def test_an_unknown_price_is_an_answer() -> None:
    """Who says that a price is unknown is not overruled by a source behind him."""
    assert price_of(router(Price("CNY"), [("toy", "toy-1", FILE)])) == Price("CNY")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (5, "rows of provider"),
        ({"a": FILE}, "rows of provider"),
        ([("toy", FILE)], "prices[0]"),
        ([("toy", "m", FILE), ("toy", "m", "2")], "prices[1]"),
        ([("toy", "m", FILE), ("toy", "m", PLUGIN)], "the same days already, in row 0"),
        ("no-such-file.toml", "cannot be read"),
    ],
)
def test_wrong_rows_are_named(rows: Any, said: str) -> None:
    """A ConfigurationError when the router is made."""
    assert said in str(raised(lambda: router(file=rows), cnroute.ConfigurationError))


LIST = """
[[prices]]
provider = "toy"
model = "toy-1"
currency = "CNY"
input = "1"
output = "1"
per = 1
valid_until = 2026-06-30

[[prices]]
provider = "toy"
model = "toy-1"
currency = "CNY"
input = "7"
output = "7"
per = 1
valid_from = 2026-07-01
"""


def at(day: str, hour: int = 12) -> float:
    """Unix time of an hour in China."""
    zone = datetime.timezone(datetime.timedelta(hours=8))
    return datetime.datetime.fromisoformat(day).replace(hour=hour, tzinfo=zone).timestamp()


class Calendar(FakeClock):
    """A clock whose date can be set."""

    def __init__(self, day: str, hour: int = 12) -> None:
        super().__init__()
        self.wall = at(day, hour)

    def time(self) -> float:
        return self.wall


def test_a_price_list_from_a_file(tmp_path: Path) -> None:
    """By its path, as a keyword or in the configuration, where it stands beside the configuration's file."""
    (tmp_path / "prices.toml").write_text(LIST, "utf-8")
    assert price_of(router(file=tmp_path / "prices.toml", clock=Calendar("2026-06-30"))).input == 1
    config = tmp_path / "cnroute.toml"
    config.write_text(
        f'[router]\nprices = "prices.toml"\n[deployments.a]\nprovider = "toy"\nmodel = "toy-1"\napi_key = "{KEY}"\n', "utf-8"
    )
    config.chmod(0o600)
    made = cnroute.Router.from_config(config, plugins=host(), clock=Calendar("2026-07-01"))
    (info,) = made.models()
    assert info.price is not None and info.price.input == 7
    (tmp_path / "prices.toml").write_text(LIST.replace('"7"', '"8"'), "utf-8")
    made.reload(config)
    (info,) = made.models()
    assert info.price is not None and info.price.input == 8
    (tmp_path / "prices.toml").write_text(LIST.replace('"7"', "7.5"), "utf-8")
    caught = raised(lambda: made.reload(config), cnroute.ConfigurationError)
    told = {problem.key: str(problem.file) for problem in caught.problems}
    assert told["prices[1].input"].endswith("prices.toml") and told["prices[1].output"].endswith("prices.toml")


def test_the_list_on_the_page_is_one(tmp_path: Path) -> None:
    """docs/money.md shows a list that is read, and has no overlap."""
    block = (ROOT / "docs/money.md").read_text("utf-8").split("```toml\n")[1].partition("```")[0]
    (tmp_path / "prices.toml").write_text(block, "utf-8")
    assert [row[:2] for row in price_rows(tmp_path / "prices.toml")] == [("dashscope", "qwen-plus")] * 2


def test_at_midnight_in_china_the_next_price_holds(tmp_path: Path) -> None:
    """Without a reload, and even if the file is gone; health and what was learned stay."""
    file = tmp_path / "prices.toml"
    file.write_text(LIST, "utf-8")
    clock = Calendar("2026-06-30", 23)
    toy = router(file=file, clock=clock, shipped=SHIPPED)
    assert toy.chat().cost.amount == 5
    file.unlink()
    health = toy.router._engine.binding.places["a"].health
    clock.wall += 3599
    assert toy.chat().cost.amount == 5
    clock.wall += 1
    assert toy.router.plan("x", model="chat").candidates[0].cost is not None
    assert toy.chat().cost.amount == 35
    assert toy.router._engine.binding.places["a"].health is health


def test_a_price_that_has_ended_leaves_the_word_to_the_next_source() -> None:
    """An own price until the end of June, then the catalogue's."""
    clock = Calendar("2026-06-30")
    toy = router(Price("CNY", "1", "1", per=1, valid_until="2026-06-30"), shipped=SHIPPED, clock=clock)
    assert price_of(toy) != SHIPPED
    clock.wall = at("2026-07-01", 0)
    assert toy.chat().cost.amount == 20
    lonely = router(Price("CNY", "1", "1", per=1, valid_until="2026-06-30"), clock=clock)
    assert lonely.chat().cost is None


def test_a_running_call_keeps_the_price_it_began_with() -> None:
    """The answer that comes after midnight is charged as the request was planned."""
    clock = Calendar("2026-06-30", 23)
    rows = [("toy", "toy-1", attrs_until(OWN)), ("toy", "toy-1", attrs_from(FILE))]
    toy = router(file=rows, clock=clock, advance=lambda step, sent: setattr(clock, "wall", at("2026-07-01", 1)))
    assert [toy.chat().cost.amount, toy.chat().cost.amount] == [5, 10]


def attrs_until(price: Price) -> Price:
    return Price(price.currency, price.input, price.output, per=price.per, valid_until="2026-06-30")


def attrs_from(price: Price) -> Price:
    return Price(price.currency, price.input, price.output, per=price.per, valid_from="2026-07-01")


def test_a_price_that_is_still_to_come_needs_its_rate_now() -> None:
    """No call fails at midnight because a currency has no rate: the router is not made."""
    rows = [("toy", "toy-1", attrs_until(OWN)), ("toy", "toy-1", Price("USD", "1", "1", valid_from="2026-07-01"))]
    cheapest = {"chat": cnroute.Route("cheapest", ["a"])}
    text = str(raised(lambda: router(file=rows, routes=cheapest, clock=Calendar("2026-06-01")), cnroute.ConfigurationError))
    assert "priced in USD" in text
    made = router(OWN, rows, routes=cheapest, clock=Calendar("2026-06-01"))
    assert price_of(made) == OWN


def test_both_routers_take_prices() -> None:
    """`AsyncRouter` has the same keyword."""

    async def main() -> Any:
        async with cnroute.AsyncRouter([deployment("a")], plugins=host(), prices=[("toy", "toy-1", FILE)]) as made:
            return made.models()[0].price

    assert asyncio.run(main()) == FILE


def test_of_several_rows_of_plugins_the_last_one_that_holds() -> None:
    """Plugins do not know of each other; the user's file may not have two."""
    book = PriceBook(plugins=by_model([("p", "m", OWN), ("p", "m", FILE), ("p", "m", attrs_until(PLUGIN))]))
    prices = list(book.prices(None, "p", "m", SHIPPED))
    assert [of_today(prices, day) for day in ("2026-06-30", "2026-07-01")] == [attrs_until(PLUGIN), FILE]
    assert (next_change(prices, "2026-06-01"), next_change(prices, "2026-07-01")) == ("2026-07-01", None)
