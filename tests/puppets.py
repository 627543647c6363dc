"""A run folder whose environments walk at random over the cartridge's maps: something to watch without a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from daddy_puffer.envs.world import STEPS, Cell, World
from daddy_puffer.telemetry.live import FROM_STATE, LOOK, LiveWriter
from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT, Array


class Puppets:
    """`num_envs` walkers; `walk` takes steps and writes a look."""

    def __init__(self, folder: Path, num_envs: int = 8, seed: int = 0) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(
            f"train:\n  total_steps: 100000\n  num_envs: {num_envs}\n  progress:\n    watched: [Boulder]\n",
            encoding="utf-8",
        )
        self.world = World.load()
        self.rng = np.random.default_rng(seed)
        self.cells = [self.world.start] * num_envs
        self.step = 0
        self.live = LiveWriter(folder / "live", num_envs, 0.25)

    def walk(self, steps: int = 4) -> None:
        """So many steps of everybody, then one look."""
        for _ in range(steps):
            self.step += len(self.cells)
            for i, cell in enumerate(self.cells):
                self.cells[i] = self.world.destination(cell, self.rng.choice(list(STEPS))) or cell
        self.live.write(self.step, self.looks(), self.screens() if self.live.wants_screens else None)

    def put(self, cells: list[Cell]) -> None:
        """Everybody to these places."""
        self.cells = list(cells)

    def looks(self) -> Array:
        rows = np.zeros(len(self.cells), LOOK)
        rows["map"], rows["x"], rows["y"] = np.array(self.cells).T
        rows["milestones"] = np.arange(len(rows)) % 4
        rows["flags"][1::2] = FROM_STATE
        rows["length"] = self.step // len(rows)
        return rows

    def screens(self) -> Array:
        return self.rng.integers(0, 256, (self.live.num_screens, SCREEN_HEIGHT, PACKED_WIDTH), np.uint8)

    def stop(self) -> None:
        """What a run leaves when it ends."""
        event = {"event": "stop", "step": self.step, "reason": "all steps done", "interrupted": False}
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
