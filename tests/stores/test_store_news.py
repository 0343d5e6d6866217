"""What is told of a store that goes away and comes back."""

from __future__ import annotations

import random
import threading
import time

import pytest

import cnroute
from cnroute.stores.redis import RedisStore


class Listener:
    """Takes its time, as an observer may."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def notify(self, notice: cnroute.StoreChanged) -> None:
        time.sleep(random.random() * 1e-4)
        self.told.append(notice.state)


@pytest.mark.usefixtures("eager_threads")
def test_news_are_told_in_their_order() -> None:
    """Many threads see a store go and come: the last that a listener hears is how it is."""
    store, listener = RedisStore("redis://127.0.0.1:1/0"), Listener()
    store.listen(listener)

    def see(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(300):
            if chance.random() < 0.5:
                store._fell("gone", time)
            else:
                store._rose()

    threads = [threading.Thread(target=see, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store._rose()
    assert len(listener.told) > 20
    assert listener.told == ["degraded", "restored"] * (len(listener.told) // 2)
