"""Many emulators in one process: what comes out is what each of them alone would show, whatever the threads do."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pufferlib.vector
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from support import FakeRed, assert_same

from daddy_puffer.config import Config, CurriculumConfig, EnvConfig, IntrinsicConfig, ReplayConfig, TrainConfig
from daddy_puffer.envs import RedEnv
from daddy_puffer.envs.batched import EmulatorError, VecGameBoy
from daddy_puffer.envs.emulator import HOLD_FRAMES, PRESS, RELEASE, Emulator, PyBoy
from daddy_puffer.envs.observation import pack_two_bit
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.errors import UserError
from daddy_puffer.game import addresses as at
from daddy_puffer.learner.checkpoint import find_checkpoint, load_checkpoint
from daddy_puffer.train import train
from daddy_puffer.types import Action, StepBatch
from daddy_puffer.vector import GameBoys, Threads, VectorEnv, WorkerError, make_vector

START = packaged(PRACTICE_START).read_bytes()


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("emulators-")]


def pictures(games: VecGameBoy) -> np.ndarray:
    return np.zeros(games.obs_shape(), np.uint8)


def alone(actions: list[int], frame_skip: int) -> list[np.ndarray]:
    """What PyBoy by itself shows after a reset and each action, played frame by frame."""
    pyboy = PyBoy(io.BytesIO(packaged(PRACTICE_ROM).read_bytes()), window="null", sound_emulated=False, cgb=False)
    pyboy.set_emulation_speed(0)
    pyboy.load_state(io.BytesIO(START))
    for event in RELEASE.values():
        pyboy.send_input(event)
    pyboy.tick(1, True, False)
    seen = [pyboy.screen.ndarray[:, :, 0].copy()]
    for action in actions:
        pyboy.send_input(PRESS[Action(action)])
        for frame in range(frame_skip):
            if frame == HOLD_FRAMES:
                pyboy.send_input(RELEASE[Action(action)])
            pyboy.tick(1, True, False)
        if frame_skip <= HOLD_FRAMES:
            pyboy.send_input(RELEASE[Action(action)])
        seen.append(pyboy.screen.ndarray[:, :, 0].copy())
    pyboy.stop(save=False)
    return seen


# --- VecGameBoy ------------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_envs=st.integers(1, 4),
    num_threads=st.integers(1, 5),
    frame_skip=st.sampled_from([1, 2, 7, 8, 9, 24]),
    kind=st.sampled_from([np.int64, np.uint8, np.int32]),
)
def test_each_shows_what_it_would_alone(
    seed: int, num_envs: int, num_threads: int, frame_skip: int, kind: type[np.integer[Any]]
) -> None:
    actions = np.random.default_rng(seed).integers(0, len(Action), (12, num_envs)).astype(kind)
    expected = [alone(column.tolist(), frame_skip) for column in actions.T]
    with VecGameBoy("", num_envs, frame_skip, num_threads=num_threads) as games:
        out = pictures(games)
        games.reset(out)
        for step, row in enumerate([None, *actions]):
            if row is not None:
                games.step(row, out)
            for env in range(num_envs):
                assert_array_equal(out[env], expected[env][step], err_msg=f"environment {env}, step {step}")


def test_it_plays_the_frames_of_red_v0() -> None:
    red = RedEnv(max_steps=1000)
    actions = np.random.default_rng(3).integers(0, len(Action), 120)
    with VecGameBoy("", 2, 24) as games:
        out = pictures(games)
        games.reset(out)
        red.reset(seed=0)
        seen = set()
        for action in actions:
            games.step(np.full(2, action), out)
            red.step(action)
            assert_array_equal(out[0], red.render()[:, :, 0])
            assert_array_equal(out[1], out[0])
            seen.add(out[0].tobytes())
    red.close()
    assert len(seen) > 20, "the player hardly moved"


def test_pictures_may_be_reduced_and_packed() -> None:
    shapes: dict[Any, tuple[int, ...]] = {"full": (2, 144, 160), "reduced": (2, 72, 80), "packed": (2, 72, 20)}
    found = {}
    for kind, shape in shapes.items():
        with VecGameBoy("", 2, 24, pictures=kind) as games:
            assert games.obs_shape() == shape
            found[kind] = pictures(games)
            games.reset(found[kind])
            for action in (Action.DOWN, Action.START):
                games.step(np.full(2, action), found[kind])
    assert_array_equal(found["reduced"], found["full"][:, ::2, ::2])
    assert_array_equal(found["packed"][1], pack_two_bit(found["reduced"][1]))
    assert len(np.unique(found["full"])) > 2


def test_a_state_may_go_back_or_to_another_environment_and_leaves_the_rest_alone() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.integers(0, 7, (30, 3)), rng.integers(0, 7, (10, 3))
    with VecGameBoy("", 3, 24) as games:
        out = pictures(games)
        games.reset(out)
        for row in before:
            games.step(row, out)
        state, third = games.save_state(1), games.save_state(2)
        shown = []
        for row in after:
            games.step(row, out)
            shown.append(out.copy())
        games.load_state(0, state)
        games.load_state(2, third)
        for row, then in zip(after, shown, strict=True):
            games.step(np.array([row[1], Action.B, row[2]]), out)
            assert_array_equal(out[0], then[1])
            assert_array_equal(out[2], then[2])
        games.reset(out, [2, 2])
        kept = out.copy()
        games.reset(out)
        assert_array_equal(kept[2], out[2])
        assert (kept[0] != out[0]).any()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda g, a, o: g.step(a.astype(float), o), r"integer array of shape \(2,\), got float64 of shape \(2,\)"),
        (lambda g, a, o: g.step([0, 0], o), r"integer array of shape \(2,\), got a list"),
        (lambda g, a, o: g.step(a[:1], o), r"integer array of shape \(2,\), got int64 of shape \(1,\)"),
        (lambda g, a, o: g.step(a - 1, o), "actions must be 0 to 6, got -1 for environment 0"),
        (lambda g, a, o: g.step(np.array([1, 7]), o), "actions must be 0 to 6, got 7 for environment 1"),
        (lambda g, a, o: g.step(a, o.astype(np.int8)), r"writable uint8 array of shape \(2, 144, 160\), got int8"),
        (lambda g, a, o: g.step(a, o[:, ::2]), r"uint8 array of .*, got uint8 of shape \(2, 72, 160\)"),
        (lambda g, a, o: g.reset(np.broadcast_to(o[:1], o.shape)), "got read-only uint8"),
        (lambda g, a, o: g.reset(o, [0, 2]), "there is no environment 2: they are numbered 0 to 1"),
        (lambda g, a, o: g.save_state(-1), "there is no environment -1"),
        (lambda g, a, o: g.load_state(1, b"nothing"), "environment 1: save state of 7 bytes does not fit"),
    ],
)
def test_wrong_use_is_said_in_one_line_and_changes_nothing(
    games: VecGameBoy, act: Callable[[VecGameBoy, np.ndarray, np.ndarray], object], message: str
) -> None:
    out = pictures(games)
    games.reset(out)
    state = games.save_state(1)
    with pytest.raises(UserError, match=message) as caught:
        act(games, np.zeros(2, np.int64), out)
    assert "\n" not in str(caught.value)
    assert games.save_state(1) == state


@pytest.fixture(scope="module")
def games() -> Any:
    with VecGameBoy("", 2, 24) as made:
        yield made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rom": "/nowhere.gb"}, "ROM /nowhere.gb does not exist"),
        ({"init_state": "/nowhere.state"}, "save state /nowhere.state does not exist"),
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
        ({"frame_skip": -1}, "frame_skip must be at least 1, got -1"),
        ({"num_threads": 0}, "num_threads must be at least 1, got 0"),
        ({"pictures": "blue"}, "pictures must be full, reduced or packed, got 'blue'"),
    ],
)
def test_what_cannot_be_made_is_said_and_leaves_no_thread(arguments: dict[str, Any], message: str) -> None:
    before = our_threads()
    with pytest.raises(UserError, match=message):
        VecGameBoy(**arguments)
    assert our_threads() == before


def test_a_state_that_does_not_fit_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "bad.state").write_bytes(START[:1000])
    before = our_threads()
    with pytest.raises(UserError, match="does not fit"):
        VecGameBoy("", 3, init_state=str(tmp_path / "bad.state"))
    assert our_threads() == before


def test_threads_end_with_close_which_may_be_repeated() -> None:
    before = our_threads()
    games = VecGameBoy("", 3, 24, num_threads=3)
    out = pictures(games)
    games.reset(out)
    assert len(our_threads()) == len(before) + 2, "the third is this one"
    games.close()
    games.close()
    assert our_threads() == before
    with pytest.raises(UserError, match="closed"):
        games.step(np.zeros(3, int), out)


def fail_in(monkeypatch: pytest.MonkeyPatch, name: str, victim: Callable[[Emulator], bool]) -> None:
    original = getattr(Emulator, name)

    def failing(self: Emulator, *arguments: Any) -> None:
        if victim(self):
            raise ValueError("boom in the emulator")
        original(self, *arguments)

    monkeypatch.setattr(Emulator, name, failing)


def test_an_error_in_one_of_them_is_named_and_the_others_have_done_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    with VecGameBoy("", 4, 24, num_threads=2) as games, VecGameBoy("", 1, 24) as sound:
        out, expected = pictures(games), pictures(sound)
        games.reset(out)
        sound.reset(expected)
        with monkeypatch.context() as patched:
            fail_in(patched, "play", lambda emulator: emulator is games._emulators[2])
            with pytest.raises(EmulatorError, match="environment 2 failed: ValueError: boom in the emulator"):
                games.step(np.full(4, Action.START), out)
        sound.step(np.full(1, Action.START), expected)
        for env in (0, 1, 3):
            assert_array_equal(out[env], expected[0])
        games.step(np.full(4, Action.B), out)
        sound.step(np.full(1, Action.B), expected)
        assert_array_equal(out[3], expected[0])


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_step_cut_short_by_ctrl_c_is_made_up_for(monkeypatch: pytest.MonkeyPatch, num_threads: int) -> None:
    rng = np.random.default_rng(5)
    actions = rng.integers(0, 7, (12, 3))
    with VecGameBoy("", 3, 24, num_threads=num_threads) as games, VecGameBoy("", 3, 24) as sound:
        out, expected = pictures(games), pictures(sound)
        games.reset(out)
        sound.reset(expected)
        original = Emulator.play
        struck = threading.Event()

        def pressed(self: Emulator, action: int, frames: int) -> None:
            original(self, action, frames)
            if threading.current_thread() is threading.main_thread():
                struck.set()
                raise KeyboardInterrupt
            struck.wait(20)  # something is left for the main thread

        for step, row in enumerate(actions):
            sound.step(row, expected)
            if step == 5:
                with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
                    patched.setattr(Emulator, "play", pressed)
                    games.step(row, out)
            else:
                games.step(row, out)
        assert_array_equal(out, expected)


def test_pufferlib_steps_them_in_one_process_and_in_several() -> None:
    made = {"num_envs": 2, "frame_skip": 8, "pictures": "reduced"}
    rng = np.random.default_rng(0)
    both = [
        pufferlib.vector.make(GameBoys, env_kwargs=made, num_envs=2, backend=pufferlib.vector.Serial),
        pufferlib.vector.make(
            GameBoys, env_kwargs=made, num_envs=2, num_workers=2, backend=pufferlib.vector.Multiprocessing
        ),
    ]
    with VecGameBoy(**made) as games:
        out = pictures(games)
        games.reset(out)
        seen = [vector.reset(1)[0] for vector in both]
        for _ in range(25):
            assert_array_equal(seen[0], seen[1])
            assert_array_equal(seen[0][2:], out)
            actions = rng.integers(0, 7, 4)
            steps = [vector.step(actions) for vector in both]
            games.step(actions[2:], out)
            seen = [step[0] for step in steps]
            assert not any(part.any() for step in steps for part in step[1:4]), "a reward, or an end"
    for vector in both:
        vector.close()


# --- train.vectorization threads -------------------------------------------------------------------------------------


def configured(vectorization: str, **changes: Any) -> Config:
    run = TrainConfig(num_envs=4, num_workers=2, vectorization=vectorization, record_episodes="none", device="cpu")
    return Config(env=EnvConfig(max_steps=25), train=run, **changes)


def test_threads_serial_and_processes_play_the_same() -> None:
    rng = np.random.default_rng(0)
    kinds = ("threads", "serial", "multiprocessing")
    vectors = [make_vector(configured(kind)) for kind in kinds]
    try:
        assert not vectors[0].processes and vectors[2].processes
        for seed in (5, 6):
            batches = [vector.reset(seed) for vector in vectors]
            infos = 0
            for _ in range(60):
                assert_same(batches[0], batches[1])
                assert_same(batches[0], batches[2])
                infos += len(batches[0].infos)
                actions = rng.integers(0, 7, 4)
                batches = [vector.step(actions) for vector in vectors]
            assert infos == 8, "two episodes of four games"
    finally:
        for vector in vectors:
            vector.close()


def test_what_environments_share_they_share_in_the_order_of_serial(tmp_path: Path) -> None:
    """Visit counts, posteriors, and a curriculum's states: processes see each other's by chance, threads do not."""
    intrinsic = IntrinsicConfig(novelty_weight=1.0, bayes_weight=1.0)
    rng = np.random.default_rng(2)
    curriculum = CurriculumConfig(mode="go_explore", cell_size=4, true_start_share=1.0)
    configs = {kind: configured(kind, intrinsic=intrinsic, curriculum=curriculum) for kind in ("threads", "serial")}
    with (
        make_vector(configs["threads"], savestates=tmp_path / "a") as threads,
        make_vector(configs["serial"], savestates=tmp_path / "b") as serial,
    ):
        assert_same(threads.reset(5), serial.reset(5))
        for _ in range(80):
            actions = rng.integers(0, 7, 4)
            assert_same(threads.step(actions), serial.step(actions))
        assert threads.visits is not None and serial.visits is not None
        assert threads.posteriors is not None and serial.posteriors is not None
        assert_array_equal(threads.visits.counts, serial.visits.counts)
        assert_array_equal(threads.posteriors.table, serial.posteriors.table)
        assert threads.states_kept == serial.states_kept
        assert (threads.states_kept or 0) > 1


def games_of(vector: VectorEnv) -> list[RedEnv]:
    return [env.env.unwrapped for env in vector._backend.envs]


def test_a_scripted_walk_is_pressed_through_as_ever() -> None:
    """The cartridge has none: the byte is set, and cleared by the third press of A."""
    rng = np.random.default_rng(4)
    with make_vector(configured("threads")) as threads, make_vector(configured("serial")) as serial:
        presses = [ignore_twice(game) for vector in (threads, serial) for game in games_of(vector)[1:2]]
        assert_same(threads.reset(5), serial.reset(5))
        for step in range(20):
            if step in (3, 11):
                for vector in (threads, serial):
                    games_of(vector)[1].memory[at.JOY_IGNORE] = 1
            actions = rng.integers(0, 7, 4)
            assert_same(threads.step(actions), serial.step(actions))
    assert presses[0] == presses[1]
    assert [action for action, frames in presses[0] if frames == 24] == [Action.A] * 6


def ignore_twice(game: RedEnv) -> list[tuple[int, int]]:
    """Let the third press of A for all 24 frames give the joypad back; what was tapped, and for how long."""
    taps: list[tuple[int, int]] = []
    emulator = game._emulator
    tap = emulator.tap

    def watched(action: int, frames: int) -> None:
        played_before = emulator._ahead is not None
        tap(action, frames)
        if not played_before:
            taps.append((int(action), frames))
        if [frames for _, frames in taps[-3:]] == [24] * 3:
            emulator.memory[at.JOY_IGNORE] = 0

    emulator.tap = watched  # type: ignore[method-assign]
    return taps


def test_environments_nobody_can_play_ahead_are_stepped_all_the_same() -> None:
    mixed = [partial(FakeRed, truncate_at=7), partial(FakeRed, terminate_at=5), FakeRed, FakeRed]
    rng = np.random.default_rng(0)
    with VectorEnv(mixed) as serial, VectorEnv(mixed, num_workers=3, threads=True) as threads:
        assert_same(serial.reset(3), threads.reset(3))
        infos = 0
        for _ in range(40):
            actions = rng.integers(0, 7, 4)
            batch = serial.step(actions)
            assert_same(batch, threads.step(actions))
            infos += len(batch.infos)
        assert infos > 10
        threads.send(rng.integers(0, 7, 4))  # a step that is not waited for
        assert_same(serial.reset(9), threads.reset(9))


def test_a_step_that_is_not_waited_for_is_forgotten_by_a_reset() -> None:
    with make_vector(configured("threads")) as threads, make_vector(configured("serial")) as serial:
        threads.reset(1)
        threads.send(np.full(4, Action.START))
        assert_same(replace_episode(threads.reset(2)), replace_episode(serial.reset(2)))
        assert_same(
            replace_episode(threads.step(np.full(4, Action.A))), replace_episode(serial.step(np.full(4, Action.A)))
        )


def replace_episode(batch: StepBatch) -> StepBatch:
    """Without the number of the episode."""
    batch.observation["episode"][:, 0] = 0
    return batch


@pytest.mark.parametrize("where", ["tap_ahead", "render_frame"])
def test_an_error_in_an_environment_names_it(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """On a thread, or in the rest of the step."""
    before = our_threads()
    with make_vector(configured("threads")) as threads:
        threads.reset(1)
        victim = games_of(threads)[2]._emulator
        with monkeypatch.context() as patched:
            fail_in(patched, where, lambda emulator: emulator is victim)
            with pytest.raises(WorkerError, match=r"(?s)environment 2 raised:.*boom in the emulator"):
                threads.step(np.zeros(4, int))
        threads.reset(1)
        threads.step(np.zeros(4, int))
    assert our_threads() == before


def test_a_silent_emulator_is_named_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured("threads")
    config = replace(config, train=replace(config.train, worker_timeout_seconds=0.3))
    original = Emulator.tap_ahead
    with make_vector(config) as threads:
        threads.reset(1)
        victim = games_of(threads)[1]._emulator

        def slow(self: Emulator, action: int, frames: int) -> None:
            if self is victim:
                time.sleep(1.0)
            original(self, action, frames)

        monkeypatch.setattr(Emulator, "tap_ahead", slow)
        with pytest.raises(WorkerError, match=r"environment 1 has been silent for 0\.3 s"):
            threads.step(np.zeros(4, int))


def test_frames_played_ahead_must_be_those_asked_for() -> None:
    with make_vector(configured("threads")) as threads:
        threads.reset(0)
        game = games_of(threads)[0]
        game._emulator.tap_ahead(Action.UP, 23)
        with pytest.raises(RuntimeError, match="played ahead"):
            game.step(Action.DOWN)


def test_pufferlibs_maker_takes_it_as_a_backend() -> None:
    from daddy_puffer.vector.packed import PackedEnv

    vector = pufferlib.vector.make(lambda: PackedEnv(FakeRed(), 0), num_envs=4, num_workers=2, backend=Threads)
    assert vector.reset(3)[0].shape[0] == 4
    with pytest.raises(pufferlib.exceptions.APIUsageError):
        vector.recv()
    vector.step(np.zeros(4, int))
    vector.close()
    vector.close()
    with pytest.raises(UserError, match="num_workers must be at least 1, got 0"):
        Threads([FakeRed] * 4, [[]] * 4, [{}] * 4, 4, num_workers=0)
    with pytest.raises(UserError, match="batch_size 2, num_envs 4"):
        Threads([FakeRed] * 4, [[]] * 4, [{}] * 4, 4, batch_size=2)


def test_a_run_on_threads_learns_and_goes_on(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    before = our_threads()
    replay = ReplayConfig(capacity=4000, burn_in=2, sequence_length=8, batch_size=4, learning_starts=150)
    config = configured("threads", replay=replay)
    run = replace(config.train, total_steps=300, log_interval=200, run_name="run", runs_dir=str(tmp_path))
    counters = load_checkpoint(train(replace(config, train=run), film_steps=1).checkpoint)["counters"]
    assert counters["steps"] == 300 and counters["updates"] > 5
    longer = replace(config, train=replace(run, total_steps=500))
    again = train(longer, resume=find_checkpoint(tmp_path / "run"), film_steps=1)
    then = load_checkpoint(again.checkpoint)["counters"]
    assert then["steps"] == 500 and then["updates"] > counters["updates"]
    assert our_threads() == before
