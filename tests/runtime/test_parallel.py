"""Work shared out over threads."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from zsecli.runtime.parallel import AHEAD, count_cores, map_in_order, use_threads

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("count", [1, 4])
def test_results_come_in_order(count: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(map_in_order(work, range(20), count)) == [n * n for n in range(20)]


def test_no_more_is_begun_than_is_asked_for() -> None:
    begun: list[int] = []
    results = map_in_order(lambda n: begun.append(n) or n, range(100), 2)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(begun) <= 2 + AHEAD
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 2 + AHEAD


def test_an_error_ends_it() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = map_in_order(work, range(100), 4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert threading.active_count() < 4


def test_pytorch_keeps_to_one_core_in_each_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with use_threads(torch.device("cpu")) as count:
            assert count == 3
            assert set(map_in_order(lambda _: torch.get_num_threads(), range(6), count)) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("said", "meant"), [("3", 3), ("4,2", 4), ("0", None), ("", None), ("many", None)])
def test_number_of_cores_from_the_environment(said: str, meant: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    found = count_cores()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert found == (meant or count_cores()) and found >= 1
