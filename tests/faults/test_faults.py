"""A few faults of every kind; `make faults` tries hundreds."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from faults.harness import CannotMount, Faults
from faults.stages import STAGES, template

pytestmark = [
    pytest.mark.faults,
    pytest.mark.xdist_group("faults"),  # one process has everything imported for all of them
]
KEPT: dict[str, Faults] = {}


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    return template(tmp_path_factory.mktemp("template"), pictures)


@pytest.fixture
def faults(request: pytest.FixtureRequest, begun: Path, tmp_path_factory: pytest.TempPathFactory) -> Faults:
    stage = request.param
    if stage not in KEPT:
        KEPT[stage] = Faults(begun, tmp_path_factory.mktemp("faults"), stage)
    return KEPT[stage]


@pytest.mark.parametrize("faults", ["embed", "match by RN"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_what_is_stopped_goes_on_and_ends_the_same(faults: Faults, number: signal.Signals) -> None:
    assert faults.stop(number).tried == 3


@pytest.mark.parametrize("faults", ["embed", "evaluate"], indirect=True)
def test_a_full_disk_is_said_and_nothing_is_lost(faults: Faults) -> None:
    for _ in range(2):
        faults.fill()


@pytest.mark.parametrize("faults", ["match by RN"], indirect=True)
@pytest.mark.parametrize("fault", ["fill_disk", "forbid"])
def test_a_disk_that_is_full_or_not_to_be_written(faults: Faults, fault: str) -> None:
    try:
        getattr(faults, fault)()
    except CannotMount:
        pytest.skip("this user may not mount a disk in memory")


@pytest.mark.parametrize("faults", ["embed"], indirect=True)
@pytest.mark.parametrize("locks", [True, False])
def test_two_writers_meet(faults: Faults, locks: bool) -> None:
    assert faults.meet(locks).tried == 1


@pytest.mark.parametrize("faults", ["embed"], indirect=True)
def test_what_is_killed_where_locks_are_refused_blocks_nobody(faults: Faults) -> None:
    assert faults.stop(signal.SIGKILL, locks=False).tried == 3


def test_every_stage_has_its_faults() -> None:
    assert {name.split(",")[0].split(" by ")[0] for name in STAGES} == {
        "prepare", "train", "embed", "match", "evaluate", "explain", "synthesize"
    }  # fmt: skip
