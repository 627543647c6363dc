"""Watching a run: what the run leaves of itself, what the server says of it, what a browser makes of that."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from puppets import Puppets
from support import FakeLearner

from daddy_puffer.config import Config, EnvConfig, ReplayConfig, TrainConfig
from daddy_puffer.envs import make_red_env
from daddy_puffer.envs.world import STEPS, Cell, World
from daddy_puffer.errors import UserError
from daddy_puffer.game.features import FEATURE_COUNT, FEATURES
from daddy_puffer.learner.live_samples import look, write_look
from daddy_puffer.learner.stop import StopSignals
from daddy_puffer.learner.trainer import Trainer
from daddy_puffer.replay import make_replay
from daddy_puffer.report.layout import place_maps
from daddy_puffer.telemetry.live import (
    FROM_STATE,
    IN_BATTLE,
    LOOK,
    MOST_SCREENS,
    POSITIONS,
    SLOTS,
    LiveReader,
    LiveWriter,
    unpack_looks,
    unpack_screens,
)
from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT, Action, Array, StepBatch
from daddy_puffer.vector import VectorEnv
from daddy_puffer.watch.curves import BINS, POINTS, curves
from daddy_puffer.watch.moment import Moment
from daddy_puffer.watch.server import Watcher
from daddy_puffer.watch.world import other_world, practice_world
from daddy_puffer.wrappers import EpsilonEnv

INDEX = {name: index for index, (name, _) in enumerate(FEATURES)}


# --- live/ -----------------------------------------------------------------------------------------------------------


def rows(*maps: int) -> Array:
    found = np.zeros(len(maps), LOOK)
    found["map"] = maps
    return found


@settings(max_examples=12, deadline=None)
@given(count=st.integers(0, SLOTS + 40), since=st.integers(-1, SLOTS + 60), envs=st.integers(1, 5))
def test_a_reader_gets_what_it_lacks_and_is_still_there(
    tmp_path_factory: pytest.TempPathFactory, count: int, since: int, envs: int
) -> None:
    folder = tmp_path_factory.mktemp("live")
    with LiveWriter(folder, envs, 1.0) as writer:
        for number in range(count):
            writer.write(number * envs, rows(*[(number + i) % 256 for i in range(envs)]), None)
    session, found_envs, looks = LiveReader(folder).looks()
    assert found_envs == envs and session > 0
    assert [seen.number for seen in looks] == list(range(max(0, count - SLOTS), count))
    newer = LiveReader(folder).looks(since, session)[2]
    assert [seen.number for seen in newer] == list(range(max(0, count - SLOTS, since + 1), count))
    for seen in newer:
        assert unpack_looks(seen.payload)["map"].tolist() == [(seen.number + i) % 256 for i in range(envs)]
        assert seen.step == seen.number * envs


def test_a_half_written_look_is_left_out_until_it_is_whole(tmp_path: Path) -> None:
    with LiveWriter(tmp_path, 3, 1.0) as writer:
        for number in range(4):
            writer.write(number, rows(1, 2, 3), None)
    path = tmp_path / POSITIONS
    whole = path.read_bytes()
    torn = bytearray(whole)
    torn[whole.index(b"\x02", 64 + 2 * 64)] ^= 0xFF  # a record takes 24 + 3 * 12 + 4 = 64 bytes: in the third
    path.write_bytes(torn)
    assert [seen.number for seen in LiveReader(tmp_path).looks()[2]] == [0, 1, 3]
    path.write_bytes(whole)
    assert [seen.number for seen in LiveReader(tmp_path).looks()[2]] == [0, 1, 2, 3]


@pytest.mark.parametrize("content", [b"", b"rubbish", b"DPLIVE1\0" + b"\xff" * 56, b"DPLIVE1\0" + b"\0" * 56])
def test_a_file_that_is_none_is_nothing_to_see(tmp_path: Path, content: bytes) -> None:
    (tmp_path / POSITIONS).write_bytes(content)
    assert LiveReader(tmp_path).looks() == (0, 0, [])
    assert LiveReader(tmp_path / "nowhere").looks() == (0, 0, [])


def test_a_run_that_begins_anew_is_another_session(tmp_path: Path) -> None:
    with LiveWriter(tmp_path, 2, 1.0) as writer:
        for number in range(9):
            writer.write(number, rows(1, 1), None)
    before, _, _ = LiveReader(tmp_path).looks()
    with LiveWriter(tmp_path, 2, 1.0) as writer:
        writer.write(100, rows(7, 7), None)
    after, _, looks = LiveReader(tmp_path).looks(since=8, session=before)
    assert after != before and [seen.step for seen in looks] == [100]


def test_nothing_is_written_where_nobody_wants_it(tmp_path: Path) -> None:
    with LiveWriter(tmp_path / "live", 2, 0.0) as writer:
        assert not writer.due()
    assert not (tmp_path / "live").exists()


def test_a_folder_that_cannot_be_written_stops_the_watching_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "live").write_text("a file")
    with LiveWriter(tmp_path / "live", 2, 1.0) as writer:
        assert not writer.due()
    with LiveWriter(tmp_path / "other", 2, 1.0) as writer:
        assert writer.due()

        def full(*_: Any) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "pwrite", full)
        writer.write(0, rows(1, 1), None)
        assert not writer.due()
    assert [record.message.count("live/ cannot be written") for record in caplog.records] == [1, 1]


def test_looks_come_no_more_often_than_they_should(tmp_path: Path) -> None:
    with LiveWriter(tmp_path, 1, 0.05) as writer:
        until, seen = time.monotonic() + 0.22, 0
        while time.monotonic() < until:
            seen += writer.due()
    assert 1 <= seen <= 5


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=6), st.data())
def test_a_look_says_where_everybody_is(places: list[tuple[int, int, int]], data: st.DataObject) -> None:
    structured = np.zeros((len(places), FEATURE_COUNT), np.float32)
    for row, (map_id, x, y) in zip(structured, places, strict=True):
        row[[INDEX["map_id"], INDEX["x"], INDEX["y"]]] = map_id, x / 32 - 1, y / 32 - 1
    badges = data.draw(st.lists(st.integers(0, 8), min_size=len(places), max_size=len(places)))
    for row, held in zip(structured, badges, strict=True):
        row[INDEX["badge_1"] : INDEX["badge_1"] + held] = 1
    structured[:, INDEX["battle_wild"]] = 1
    episode = np.array([[0, 70_000, i, 0] for i in range(len(places))], np.int32)
    observation = {"structured": structured, "episode": episode, "milestones": np.full((len(places), 2), 3, np.uint8)}
    found = look(batch_of(observation), np.arange(len(places)))
    assert list(zip(found["map"].tolist(), found["x"].tolist(), found["y"].tolist(), strict=True)) == places
    assert found["badges"].tolist() == badges and found["milestones"].tolist() == [4] * len(places)
    assert found["flags"].tolist() == [IN_BATTLE] + [IN_BATTLE | FROM_STATE] * (len(places) - 1)
    assert (found["length"] == 0xFFFF).all() and found["episode"].tolist() == list(range(len(places)))


def batch_of(observation: dict[str, Array]) -> StepBatch:
    count = len(observation["structured"])
    nothing = np.zeros(count, bool)
    return StepBatch(observation, np.zeros(count, np.float32), nothing, nothing, nothing, np.arange(count), [])


def test_a_look_agrees_with_the_memory_of_the_game() -> None:
    env = EpsilonEnv(make_red_env(EnvConfig(), {}), 1)
    observation, _ = env.reset(seed=0)
    places = set()
    for action in (Action.RIGHT, Action.RIGHT, Action.UP, Action.RIGHT, Action.UP, Action.RIGHT, Action.DOWN) * 3:
        observation, *_ = env.step(np.int64(action))
        found = look(batch_of({name: part[None] for name, part in observation.items()}), np.zeros(1))[0]
        state = env.unwrapped.game_state
        assert (int(found["map"]), (int(found["x"]), int(found["y"]))) == (state.map_id, state.position)
        places.add((state.map_id, *state.position))
    env.close()
    assert len(places) > 3


def make_game() -> EpsilonEnv:
    return EpsilonEnv(make_red_env(EnvConfig(), {}), 1)


def test_a_run_leaves_positions_and_screens_while_it_goes_on(tmp_path: Path) -> None:
    config = Config(
        replay=ReplayConfig(capacity=4000, learning_starts=2000), train=TrainConfig(num_envs=2, total_steps=60)
    )
    seen = []
    with VectorEnv([make_game] * 2) as env, LiveWriter(tmp_path / "live", 2, 1e-9) as live:
        replay = make_replay(config, env.spaces, FakeLearner.state_size, 2)
        learner: Any = FakeLearner(action=Action.RIGHT)
        trainer = Trainer(config, env, learner, replay, tmp_path)
        trainer.after_step = partial(write_look, live)
        for _ in trainer.run(StopSignals()):
            seen.append(len(LiveReader(tmp_path / "live").looks()[2]))
    _, envs, looks = LiveReader(tmp_path / "live").looks()
    assert envs == 2 and len(looks) == 30 and looks[-1].step == 60  # 60 steps of 2 environments
    everywhere = np.stack([unpack_looks(one.payload) for one in looks])
    assert everywhere["length"].tolist() == [[n, n] for n in range(1, 31)]
    assert len({(int(at["x"]), int(at["y"])) for at in everywhere.ravel()}) > 3, "random buttons lead somewhere"
    assert seen[-1] == 30, "it could be seen meanwhile"
    shown, screens = LiveReader(tmp_path / "live").screens()
    assert shown == 2 and screens is not None
    pictures = unpack_screens(screens.payload)
    assert pictures.shape == (2, SCREEN_HEIGHT, PACKED_WIDTH * 4)
    assert len(np.unique(pictures)) >= 3, "a picture has several shades"


# --- where the maps lie ----------------------------------------------------------------------------------------------


def test_maps_do_not_overlap_and_edges_fit() -> None:
    world = World.load()
    corners = place_maps(world)
    assert set(corners) == set(world.maps)
    taken = {
        (corners[m.id][0] + x, corners[m.id][1] + y): m.id
        for m in world.maps.values()
        for x in range(m.width)
        for y in range(m.height)
    }
    assert len(taken) == sum(m.width * m.height for m in world.maps.values())
    crossed = 0
    for target, arrivals in world.arrivals.items():
        for cell, action in arrivals:
            if cell.map != target.map and any(target.map == c[1] for c in world.maps[cell.map].connections):
                (ax, ay), (bx, by), (dx, dy) = corners[cell.map], corners[target.map], STEPS[action]
                assert (bx + target.x - ax - cell.x, by + target.y - ay - cell.y) == (dx, dy)
                crossed += 1
    assert crossed > 10


def test_another_rom_has_plain_maps() -> None:
    maps = {m["id"]: m for m in other_world()["maps"]}
    assert maps[0]["name"] == "PalletTown" and (maps[0]["width"], maps[0]["height"]) == (20, 18)
    assert not any("cells" in m for m in maps.values())


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.fixture
def puppets(tmp_path: Path) -> Puppets:
    return Puppets(tmp_path / "run")


@pytest.fixture
def server(puppets: Puppets) -> Iterator[Watcher]:
    with Watcher(Moment(puppets.folder), 0) as watcher:
        threading.Thread(target=watcher.serve_forever, args=(0.02,), daemon=True).start()
        yield watcher
        watcher.shutdown()


def ask(server: Watcher, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*server.server_address, timeout=10)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, gzip.decompress(body) if answer.getheader("Content-Encoding") == "gzip" else body


def told(server: Watcher, path: str) -> dict[str, Any]:
    status, body = ask(server, path)
    assert status == 200, body
    return json.loads(body, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_only_what_is_new_travels(server: Watcher, puppets: Puppets) -> None:
    assert told(server, "/live")["state"] == "waiting"
    for _ in range(6):
        puppets.walk()
    first = told(server, "/live")
    assert first["state"] == "running" and [row[0] for row in first["looks"]] == [0, 1, 2, 3, 4, 5]
    assert first["screens"]["count"] == 8 and first["envs"] == 8
    asked = f"/live?session={first['session']}&since=5&screens={first['screens']['number']}"
    again = told(server, asked)
    assert again["looks"] == [] and again["screens"] is None
    puppets.walk()
    assert [row[0] for row in told(server, asked)["looks"]] == [6]
    begun = told(server, "/curves")
    assert begun["facts"]["envs"] == 8
    assert told(server, f"/curves?version={begun['version']}") == {"version": begun["version"]}


def test_state_follows_the_end_and_a_restart(
    server: Watcher, puppets: Puppets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daddy_puffer.watch.moment.REREAD_SECONDS", 0.0)
    monkeypatch.setattr("daddy_puffer.watch.moment.READING_SHARE", 1e9)
    puppets.walk()
    old = told(server, "/live")
    puppets.stop()
    server.moment._next_read = 0.0  # what two seconds of waiting would do
    told(server, "/curves")
    assert told(server, "/live")["state"] == "finished"
    with (puppets.folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "resume", "step": 32}\n')
    puppets.live = LiveWriter(puppets.folder / "live", 8, 0.25)
    puppets.walk()
    told(server, "/curves")
    new = told(server, f"/live?session={old['session']}&since={old['looks'][-1][0]}")
    assert new["state"] == "running" and new["session"] != old["session"]
    assert [row[0] for row in new["looks"]] == [0]


def test_a_run_that_says_no_more_is_silent(server: Watcher, puppets: Puppets, monkeypatch: pytest.MonkeyPatch) -> None:
    puppets.walk()
    assert told(server, "/live")["state"] == "running"
    monkeypatch.setattr("daddy_puffer.watch.moment.SILENT_SECONDS", 0.0)
    assert told(server, "/live")["state"] == "silent"


def test_pages_from_elsewhere_and_unknown_paths_get_nothing(server: Watcher) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, "/live", {"Host": "evil.example"})[0] == 403
    assert ask(server, "/live", {"Host": "localhost:1"})[0] == 200
    for path in ("/config.yaml", "/../config.yaml", "/live/positions.bin", "/page.html"):
        assert ask(server, path)[0] == 404
    assert ask(server, "/live?since=x&session=&screens=1e9")[0] == 200


def test_page_is_whole_in_itself(server: Watcher) -> None:
    status, page = ask(server, "/", {"Accept-Encoding": "gzip"})
    assert status == 200
    assert page == ask(server, "/")[1]
    assert b"http" not in page.replace(b"http-equiv", b""), "nothing comes from another machine"


def test_port_in_use_is_said_in_one_line(server: Watcher, puppets: Puppets) -> None:
    with pytest.raises(UserError, match=rf"^port {server.server_address[1]} is in use: give another --port.*$"):
        Watcher(Moment(puppets.folder), server.server_address[1])


def test_a_folder_that_is_no_run_is_said_in_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="^[^\n]*is no (run|folder)[^\n]*$"):
            Moment(folder)


# --- curves ----------------------------------------------------------------------------------------------------------


def write_tables(folder: Path, episodes: int) -> None:
    """`episodes` of 100 steps that return their number; a milestone's posterior, two metrics with a gap."""
    lines = ["env_id,length_steps,return_env,return_rnd,return_total,end_step_global,savestate_tag,badges"]
    lines += [f"0,100,{n},0,{n + 1},{100 * (n + 1)},,{n % 3}" for n in range(episodes)]
    (folder / "episodes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = ["step,milestone,alpha,beta,mean,lower,upper,alarm_score"]
    lines += [f"{100 * n},Boulder,1,1,{n / 1000},0,1,0" for n in range(500)]
    (folder / "progress.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = "step,speed/steps_per_second,learner/td_loss\n100,50,\n200,70,0.5\n"
    (folder / "metrics.csv").write_text(text, encoding="utf-8")


def test_curves_are_thinned_and_true(puppets: Puppets) -> None:
    write_tables(puppets.folder, 1000)
    made = Moment(puppets.folder).curves(0)
    assert len(made["returns"]["step"]) == BINS and set(made["returns"]["series"]) == {"total", "env"}
    # bin b holds the episodes that ended in (1250 b, 1250 (b + 1)]: of the first 0 to 11, of the second 12 to 24
    assert made["returns"]["series"]["env"][:2] == [sum(range(12)) / 12, sum(range(12, 25)) / 13]
    assert made["returns"]["series"]["total"][0] == sum(range(12)) / 12 + 1
    (boulder,) = made["milestones"]
    assert boulder["watched"] and len(boulder["step"]) == POINTS
    assert (boulder["step"][0], boulder["step"][-1], boulder["mean"][-1]) == (0, 49_900, 0.499)
    assert made["metrics"]["learner/td_loss"] == {"step": [100, 200], "value": [None, 0.5]}
    facts = made["facts"]
    assert (facts["episodes"], facts["best_badges"], facts["steps_per_second"]) == (1000, 2, 70.0)
    assert facts["badge_rates"] == [0.66, 0.33]  # of the last 100, 900 to 999: 34 with none, 33 with one or two
    json.dumps(made, allow_nan=False)


def test_curves_of_a_run_without_anything(puppets: Puppets) -> None:
    made = curves(Moment(puppets.folder)._run)
    assert made["returns"]["step"] == [] and made["milestones"] == [] and made["metrics"] == {}
    assert made["facts"]["steps_per_second"] is None and made["facts"]["badge_rates"] == []


# --- the whole -------------------------------------------------------------------------------------------------------


def test_command_serves_until_ctrl_c(puppets: Puppets) -> None:
    puppets.walk()
    command = [sys.executable, "-m", "daddy_puffer.watch", str(puppets.folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "at http" in line and "127.0.0.1:" in line, process.communicate()
    port = int(line.split("127.0.0.1:")[1].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/live")
    assert connection.getresponse().status == 200
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in errors


@pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no chromium")
def test_browser_sees_positions_move_without_reload(server: Watcher, puppets: Puppets, tmp_path: Path) -> None:
    write_tables(puppets.folder, 40)
    home = [Cell(38, 1, 4)] * 8
    puppets.put(home)
    puppets.walk(0)
    with chromium.Page(tmp_path / "profile", seconds=150) as page:
        page.go(server.url)
        page.wait_for("!!document.querySelector('#swarm')?.dataset.positions", 60)
        page.value("window.mark = 'this very page'")
        before = page.value("document.querySelector('#swarm').dataset.positions")
        assert {place.split(":")[0] for place in before.split()} == {"38"}
        puppets.put([Cell(12, 5, 5)] * 8)
        puppets.walk(0)
        x, y = next((m["x"], m["y"]) for m in practice_world()["maps"] if m["id"] == 12)
        there = " ".join([f"12:{x + 5.5:.1f},{y + 5.5:.1f}"] * 8)
        page.wait_for(f"document.querySelector('#swarm').dataset.positions === '{there}'", 30)
        assert page.value("window.mark") == "this very page"
        assert page.value("document.querySelector('#swarm').textContent") == "Path 1 8"
        assert page.value("document.querySelectorAll('#strip canvas').length") == min(8, MOST_SCREENS)
        page.wait_for("document.querySelectorAll('.plot canvas').length >= 3", 30)
        assert page.value("document.querySelector('#state').dataset.state") == "running"
