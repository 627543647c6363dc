"""The registry of save states: nothing half made is drawn, nothing bad is fatal, the frontier stays."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daddy_puffer.swarm import Chain, Machine, SavedState, StateFacts, StateRegistry
from daddy_puffer.swarm import outcomes as outcomes_module
from daddy_puffer.swarm.outcomes import EVICTED, Outcomes, Tallies
from daddy_puffer.swarm.registry import STATES_PER_CELL, eviction_order

ROOT = Path(__file__).resolve().parents[1]
MACHINE = Machine(rom_sha256="rom", start_sha256="start", action_freq=24, emulator="PyBoy 2.7.0")
STATE = b"\x0fstate" * 100
PLACES = np.array([[0, 3, 4], [37, 1, 2]], np.uint8)
CHAIN = Chain.empty().then(7, bytes([1, 2, 3]), PLACES)


def registry(folder: Path, **changes: Any) -> StateRegistry:
    limits = {"max_states": 20, "max_bytes": 10**6, "rescan_seconds": 0.0, **changes}
    return StateRegistry(folder, limits.pop("machine", MACHINE), **limits)


def facts(cell: str = "1_0_0_0_0", progress: int = 0, steps: int = 10, label: str = "Route 1/b") -> StateFacts:
    return StateFacts(
        label=label,
        cell=cell,
        map_id=12,
        map_name="Route1",
        milestones=[f"m{index}" for index in range(progress)],
        badges=0,
        episode_steps=3,
        total_steps=steps,
        parent="",
        maker="a test",
    )


def fresh(folder: Path) -> list[SavedState]:
    """What a process that has just begun finds."""
    other = registry(folder)
    other.refresh(force=True)
    return other.states()


def test_another_process_finds_what_was_registered(tmp_path: Path) -> None:
    mine, other = registry(tmp_path / "not" / "yet"), registry(tmp_path / "not" / "yet")
    other.refresh()
    assert other.states() == []
    saved = mine.register(STATE, facts(), CHAIN)
    other.refresh()
    assert other.states() == [saved] == mine.states()
    state, chain = other.load(saved) or pytest.fail("not found")
    assert state == STATE and chain.actions.tolist() == [1, 2, 3]
    assert (chain.waits.tolist(), chain.lengths.tolist()) == ([7], [3])
    assert saved.tag.startswith("Route-1-b_") and saved.format == 0x0F and saved.spawn_id > 0
    assert {path.name for path in mine.folder.iterdir()} == {
        saved.tag + suffix for suffix in (".state", ".actions.npz", ".json")
    }


def test_the_folder_is_read_again_only_when_it_is_time(tmp_path: Path) -> None:
    mine, other = registry(tmp_path), registry(tmp_path, rescan_seconds=3600.0)
    other.refresh()
    mine.register(STATE, facts(), CHAIN)
    other.refresh()
    assert other.states() == []
    other.refresh(force=True)
    assert len(other.states()) == 1


def test_changes_within_one_tick_of_the_clock_are_not_missed(tmp_path: Path) -> None:
    mine, other = registry(tmp_path), registry(tmp_path)
    mine.register(STATE, facts(cell="a"), CHAIN)
    other.refresh()
    tick = tmp_path.stat().st_mtime_ns
    mine.register(STATE, facts(cell="b"), CHAIN)
    os.utime(tmp_path, ns=(tick, tick))  # as on a file system with a coarse clock
    other.refresh()
    assert other.states() == mine.states() and len(mine.states()) == 2


@pytest.mark.parametrize("suffix", [".json", ".state"])
def test_a_disk_that_fails_for_a_moment_costs_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, suffix: str
) -> None:
    saved = registry(tmp_path).register(STATE, facts(), CHAIN)
    long_ago = time.time() - 3600  # nothing changes in the folder: it would not be read again for that
    os.utime(tmp_path, (long_ago, long_ago))
    other = registry(tmp_path)
    read = Path.read_bytes

    def stale(path: Path) -> bytes:
        if path.suffix == suffix:
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", stale)
    for _ in range(3):
        other.refresh()
        assert all(other.load(known) is None for known in other.states()) and other.states() == []
    assert caplog.text.count("Stale file handle") == 1
    monkeypatch.setattr(Path, "read_bytes", read)
    other.refresh()
    assert other.states() == [saved] and other.load(saved) and not (tmp_path / "quarantine").exists()


@pytest.mark.parametrize("missing", [".json", ".state", ".actions.npz"])
def test_what_is_not_whole_is_never_drawn(tmp_path: Path, missing: str) -> None:
    mine = registry(tmp_path)
    saved = mine.register(STATE, facts(), CHAIN)
    (tmp_path / (saved.tag + missing)).unlink()
    assert mine.load(saved) is None or missing == ".json"  # what is in memory already is still whole
    mine.refresh(force=True)
    assert mine.states() == [] == fresh(tmp_path)
    assert (tmp_path / "quarantine" / f"{saved.tag}.txt").exists() == (missing != ".json")


@pytest.mark.parametrize(
    ("suffix", "content", "reason"),
    [
        (".state", STATE[:-1], "damaged"),
        (".state", b"", "damaged"),
        (".actions.npz", b"PK\x03\x04 not an archive", "damaged"),
        (".json", b"", "cannot be read"),
        (".json", b"\xff\xfe", "cannot be read"),
        (".json", b"[]", "cannot be read"),
        (".json", b'{"tag": 3}', "cannot be read"),
    ],
)
def test_a_bad_state_goes_into_quarantine(tmp_path: Path, suffix: str, content: bytes, reason: str) -> None:
    mine = registry(tmp_path)
    good, bad = mine.register(STATE, facts(), CHAIN), mine.register(STATE, facts(), CHAIN)
    (tmp_path / (bad.tag + suffix)).write_bytes(content)
    other = registry(tmp_path)
    other.refresh(force=True)
    drawn = {saved.tag: other.load(saved) for saved in other.states()}
    assert drawn[good.tag] is not None and drawn.get(bad.tag) is None
    assert other.states() == [good] == fresh(tmp_path)
    text = (tmp_path / "quarantine" / f"{bad.tag}.txt").read_text()
    assert reason in text and text.count("\n") == 1
    assert (tmp_path / "quarantine" / f"{bad.tag}.state").exists()
    assert not list(tmp_path.glob(f"{bad.tag}*"))


def test_states_of_another_host_are_not_ours_and_older_ones_had_none(tmp_path: Path) -> None:
    saved = registry(tmp_path).register(STATE, facts(), CHAIN)
    path = tmp_path / f"{saved.tag}.json"
    older = json.loads(path.read_text())
    assert older.pop("host") == ""
    path.write_text(json.dumps(older))
    assert fresh(tmp_path) == [saved]
    hosted = registry(tmp_path, machine=replace(MACHINE, host="another {}"))
    hosted.refresh(force=True)
    assert hosted.load(saved) is None and "made with another host" in next(tmp_path.glob("*/*.txt")).read_text()


def test_a_sidecar_with_wrong_types_goes_into_quarantine(tmp_path: Path) -> None:
    saved = registry(tmp_path).register(STATE, facts(), CHAIN)
    path = tmp_path / f"{saved.tag}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "total_steps": "many"}))
    assert fresh(tmp_path) == []
    assert "total_steps" in (tmp_path / "quarantine" / f"{saved.tag}.txt").read_text()


@pytest.mark.parametrize(
    "change", [{"rom_sha256": "blue"}, {"emulator": "PyBoy 3"}, {"action_freq": 8}, {"start_sha256": "elsewhere"}]
)
def test_a_state_of_another_machine_is_not_drawn(tmp_path: Path, change: dict[str, Any]) -> None:
    registry(tmp_path).register(STATE, facts(), CHAIN)
    other = registry(tmp_path, machine=replace(MACHINE, **change))
    other.refresh(force=True)
    assert [other.load(saved) for saved in other.states()] == [None]
    assert next(iter(change)) in next((tmp_path / "quarantine").glob("*.txt")).read_text()


def test_an_archive_that_would_unpickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, actions=np.array([print], dtype=object), waits=np.zeros(1), lengths=np.zeros(1))
    with pytest.raises(ValueError, match="allow_pickle"):
        Chain.from_bytes(path.read_bytes())


@given(st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=50)), max_size=6))
def test_a_chain_survives_the_file(segments: list[tuple[int, bytes]]) -> None:
    chain = Chain.empty()
    for wait, actions in segments:
        chain = chain.then(wait, actions, PLACES)
    back = Chain.from_bytes(chain.to_bytes())
    assert back.actions.tobytes() == b"".join(actions for _, actions in segments)
    assert list(zip(back.waits, back.lengths, strict=True)) == [(wait, len(actions)) for wait, actions in segments]
    assert (back.actions.dtype, back.waits.dtype, back.lengths.dtype) == (np.uint8, np.int32, np.int32)


def test_what_a_killed_process_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    saved = registry(tmp_path).register(STATE, facts(), CHAIN)
    old, young = tmp_path / "old_1_ab.state", tmp_path / "young_1_ab.json.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    os.utime(tmp_path / f"{saved.tag}.state", (hours_ago, hours_ago))
    assert fresh(tmp_path) == [saved]
    assert not old.exists() and young.exists() and (tmp_path / f"{saved.tag}.state").exists()


def test_duplicates_go_first_and_the_best_of_a_cell_stays(tmp_path: Path) -> None:
    mine = registry(tmp_path, max_states=100)
    best = mine.register(STATE, facts(steps=5), CHAIN)
    others = [mine.register(STATE, facts(steps=50 + number), CHAIN) for number in range(STATES_PER_CELL + 2)]
    assert mine.states() == [best, *others[3:]] == fresh(tmp_path)
    assert len(list(tmp_path.glob("*.state"))) == len(list(tmp_path.glob("*.npz"))) == STATES_PER_CELL


def test_the_limit_of_bytes_holds_and_often_seen_cells_go_before_the_frontier(tmp_path: Path) -> None:
    frontier = registry(tmp_path).register(STATE, facts("gym", progress=3), CHAIN)
    mine = registry(tmp_path, max_bytes=4 * frontier.size + 100)
    mine.outcomes.end("", False, False, ["town", "gym"])
    mine.refresh(force=True)
    for cell in ("cave", "town", "tower", "bridge"):
        mine.register(STATE, facts(cell), CHAIN)
    assert {saved.cell for saved in fresh(tmp_path)} == {"gym", "cave", "tower", "bridge"}
    mine.register(STATE, facts("wood"), CHAIN)  # all seen equally rarely: the oldest but the frontier
    assert {saved.cell for saved in fresh(tmp_path)} == {"gym", "tower", "bridge", "wood"}


def test_the_limit_holds_for_all_processes_together_however_long_ago_they_looked(tmp_path: Path) -> None:
    members = [registry(tmp_path, max_states=5, rescan_seconds=1e9) for _ in range(3)]
    for number in range(30):
        members[number % 3].register(STATE, facts(str(number)), CHAIN)
        if number >= 15:  # each has as many as may be, by its own view
            assert len(list(tmp_path.glob("*.json"))) <= 5, number


SAVED = SavedState(
    **{name: getattr(facts(), name) for name in StateFacts.__slots__}, tag="", made=0.0, size=1, sha256="",
    actions_sha256="", rom_sha256="", start_sha256="", action_freq=1, emulator="", format=15,
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=20))
def test_the_last_to_go_are_one_of_each_cell_and_last_of_all_the_frontier(states: list[tuple[int, int, int]]) -> None:
    held = [
        replace(SAVED, tag=str(made), made=float(made), cell=f"{cell}_{progress}", milestones=["m"] * progress,
                total_steps=steps)
        for made, (cell, progress, steps) in enumerate(states)
    ]  # fmt: skip
    order = eviction_order(held, Tallies(seen=Counter({saved.cell: int(saved.made) for saved in held})))
    assert sorted(order, key=lambda saved: saved.made) == held
    cells = {saved.cell for saved in held}
    survivors = order[-len(cells) :]
    assert {saved.cell for saved in survivors} == cells
    for saved in survivors:
        assert saved.total_steps == min(other.total_steps for other in held if other.cell == saved.cell)
    duplicates = order[: -len(cells)]
    assert duplicates == sorted(duplicates, key=lambda saved: saved.made)
    assert order[-1].progress == max(saved.progress for saved in held)


def test_a_place_is_new_to_whoever_comes_first(tmp_path: Path) -> None:
    mine, other = registry(tmp_path), registry(tmp_path)
    assert mine.note_places({"here", "there"}) and not mine.note_places({"here"})
    mine.outcomes.end("", False, False, {"here", "there"})
    other.refresh(force=True)
    assert not other.note_places({"here"}) and other.note_places({"here", "beyond"})


def test_outcomes_of_all_processes_add_up(tmp_path: Path) -> None:
    mine = Outcomes(tmp_path)
    mine.draw("a")
    worker = multiprocessing.get_context("fork").Process(target=mine.draw, args=("a",))
    worker.start()
    worker.join(30)
    mine.end("a", True, True, ["x", "y"])
    mine.end("", False, False, {"x"})
    assert len(list(tmp_path.iterdir())) == 2  # a forked process writes a file of its own
    tallies = Outcomes(tmp_path).read()
    ((ended, _),) = tallies.trials["a"]
    assert abs(ended - time.time()) < 60
    assert tallies == mine.read() == Tallies(
        drawn=Counter(a=2), ended=Counter(a=1), gained=Counter(a=1), found=Counter(a=1), seen=Counter(x=2, y=1),
        trials={"a": [(ended, True)]},
    )  # fmt: skip


def test_how_often_a_start_succeeds_is_asked_of_its_newest_episodes(tmp_path: Path) -> None:
    early, late, reader = Outcomes(tmp_path), Outcomes(tmp_path), Outcomes(tmp_path)
    for _ in range(200):
        early.end("a", False, False, [])
    reader.read()
    for number in range(50):  # by two processes
        (early if number % 3 else late).end("a", number % 2 == 0, False, [])
    for tallies in (reader.read(), Outcomes(tmp_path).read()):
        gained, missed = tallies.recent("a", 0.95)
        assert gained + missed == pytest.approx((1 - 0.95**64) / (1 - 0.95))  # trials that are remembered
        assert 0.4 < (1 + gained) / (2 + gained + missed) < 0.5
        assert (tallies.ended["a"], tallies.gained["a"]) == (250, 25)
        assert tallies.recent("b", 0.95) == (0, 0)


def test_a_success_counts_less_with_every_episode_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Outcomes(tmp_path), Outcomes(tmp_path)
    for clock, process, gained in ((10, one, True), (20, other, False), (30, one, True), (40, other, False)):
        monkeypatch.setattr(time, "time", lambda clock=clock: float(clock))
        process.end("a", gained, False, [])
    assert Outcomes(tmp_path).read().recent("a", 0.5) == (0.5 + 0.125, 1 + 0.25)


@pytest.mark.parametrize(
    "torn",
    [
        b'{"drawn": {"a"',
        b"\x00\x00\x00",
        b'{"drawn": 7}\n',
        b'{"drawn": {"a": "x"}}\n',
        b'{"trials": {"a": [[NaN, 1]]}}\n',
        b'{"trials": {"a": [[1, 2]]}}\n',
        b'{"trials": {"a": 1}}\n',
    ],
)
def test_a_torn_or_damaged_line_costs_only_itself(tmp_path: Path, torn: bytes) -> None:
    Outcomes(tmp_path).draw("a")
    path = next(tmp_path.iterdir())
    reader = Outcomes(tmp_path)
    with path.open("ab") as file:
        file.write(torn)
    assert reader.read().drawn == Counter(a=1)
    Outcomes(tmp_path).draw("a")
    assert reader.read().drawn == Counter(a=2)


def test_a_line_read_while_it_is_written_is_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "host_1_ab.jsonl"
    reader = Outcomes(tmp_path)
    line = b'{"drawn":{"a":1}}\n'
    for end in range(len(line) + 1):
        path.write_bytes(line[:end])
        reader.read()
    assert reader.read().drawn == Counter(a=1)


def test_states_that_are_gone_leave_sums_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes_module, "_LARGEST_BYTES", 3000)
    mine, other = registry(tmp_path, max_states=3), registry(tmp_path, max_states=3)
    for number in range(60):
        saved = mine.register(STATE, facts(str(number)), CHAIN)
        other.refresh(force=True)
        for process in (mine, other):
            process.outcomes.draw(saved.tag)
            process.outcomes.end(saved.tag, number % 2 == 0, False, ["x"])
            process.refresh(force=True)
    whole = Outcomes(tmp_path / "outcomes").read()
    living = {saved.tag for saved in fresh(tmp_path)}
    for process in (mine, other):
        process.refresh(force=True)
        assert set(process.tallies.drawn) == set(process.tallies.ended) == living | {EVICTED}
        assert set(process.tallies.trials) == living
        assert process.tallies.ended[EVICTED] == 2 * 57 and sum(process.tallies.gained.values()) == 60
        for tag in living:
            assert process.tallies.drawn[tag] == whole.drawn[tag] == len(process.tallies.trials[tag]) == 2
    assert len(whole.drawn) == 60 and len(whole.trials) < 60  # what a report reads is all there


def test_a_long_file_is_summed_up_and_nobody_counts_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes_module, "_LARGEST_BYTES", 2000)
    writer, reader = Outcomes(tmp_path), Outcomes(tmp_path)
    forgotten = 0.0
    for number in range(1, 101):
        writer.end("a", number % 2 == 0, False, ["x"])
        tallies = reader.read()
        assert (tallies.ended["a"], tallies.gained["a"], tallies.seen["x"]) == (number, number // 2, number)
        forgotten = 0.5 * forgotten + (number % 2 == 0)
        assert tallies.recent("a", 0.5)[0] == pytest.approx(forgotten)
    assert next(tmp_path.iterdir()).stat().st_size <= 4000


def test_a_sum_that_is_long_itself_is_not_written_anew_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes_module, "_LARGEST_BYTES", 2000)
    writer = Outcomes(tmp_path)
    inodes = set()
    for number in range(200):
        writer.end(f"a state of its own {number}", False, False, [])
        inodes.add(next(tmp_path.iterdir()).stat().st_ino)
    assert len(inodes) < 10 and len(Outcomes(tmp_path).read().ended) == 200


def test_eight_processes_that_are_killed_leave_a_sound_registry() -> None:
    """Seconds, not minutes; `benchmarks/registry_stress.py --minutes 10` is the long form."""
    minutes = os.environ.get("REGISTRY_STRESS_MINUTES", "0.1")
    command = [sys.executable, str(ROOT / "benchmarks" / "registry_stress.py"), "--minutes", minutes]
    done = subprocess.run([*command, "--processes", "8"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr + done.stdout
    cells = [cell.split() for cell in done.stdout.strip().strip("|").split("|")]
    numbers = {cell[-1] if cell[-1] != "be" else "gone": int(cell[0]) for cell in cells[1:]}
    assert numbers["registered"] > 20 and numbers["drawn"] > 20 and numbers["kills"] > 8 and numbers["damaged"] >= 1
