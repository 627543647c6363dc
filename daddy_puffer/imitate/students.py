"""What learns from demonstrations: ImpalaCNN from single pictures, HierQ from sequences of its own inputs.

In: `Demonstrations` to learn from, `View`s to play. Out: logits of actions, actions, checkpoints.

HierQ's logits are its action values divided by the temperature that it acts with, so that what it does when it plays
(softmax(Q / temperature)) is what was learnt, and its values have the scale that Q-learning gives them. It learns from
a few lanes side by side; each reads whole episodes from the beginning on, one after the other in random order, and
carries the memory from one batch to the next (truncated backpropagation), as it does when it plays.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from daddy_puffer.config import Config
from daddy_puffer.demos.episode import UNLABELLED, stacked_rows
from daddy_puffer.demos.game import Game, Recipe, View
from daddy_puffer.demos.images import ImageFormat
from daddy_puffer.errors import UserError
from daddy_puffer.files import replacing
from daddy_puffer.imitate.data import Demonstrations, Goal, Span
from daddy_puffer.imitate.impala import ImpalaCnn
from daddy_puffer.learner.checkpoint import load_checkpoint, load_checkpoint_config, restore_learner, save_checkpoint
from daddy_puffer.learner.learner import Learner
from daddy_puffer.learner.networks import Shaped, choose_device
from daddy_puffer.policies.hierq import HierQState

STUDENTS = ("hierq", "impala")
EVALUATED_ROWS = 256  # at once, where nothing is learnt
KEPT_CHECKPOINTS = 3
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What an update learns from: N rows."""

    rows: NDArray[np.int64]  # [N] of the demonstrations; of lanes, time first
    first: NDArray[np.bool_]  # [N] an episode begins, or a memory that is empty


class Student(Protocol):
    """A network that can be taught and can play."""

    network: nn.Module
    device: torch.device
    num_actions: int
    goal: Goal

    def batches(
        self, demos: Demonstrations, size: int, rng: np.random.Generator, shuffled: bool = False
    ) -> Iterator[Batch]:
        """Endlessly, from the episodes to be learnt from; `shuffled`: a memory does not see them in order."""

    def logits(self, demos: Demonstrations, batch: Batch) -> Tensor:
        """Of the rows of a batch, f32 `[N, A]`; batches are to be given in their order."""

    def episode_logits(self, demos: Demonstrations, span: Span) -> Tensor:
        """Of a whole episode, `[T, A]`, without learning."""

    def begin(self, games: int) -> None:
        """So many games begin."""

    def reseed(self, seed: int) -> None:
        """Draw actions by these random numbers from now on."""

    def act(self, views: Sequence[View], games: Sequence[int]) -> list[int]:
        """Actions for those of the games that go on, by what they show."""

    def save(self, folder: Path, step: int, best: bool) -> Path:
        """Write a checkpoint after `step` updates: a periodic one, or the one that is the best so far."""


class ImpalaStudent:
    """`ImpalaCnn`, which remembers nothing."""

    def __init__(
        self,
        recipe: Recipe,
        goal: Goal,
        shape: tuple[int, int, int],
        num_actions: int,
        hidden_dim: int,
        device: str,
        seed: int,
    ) -> None:
        """`shape`: height, width and channels that pictures are made into."""
        self.device = choose_device(device)
        self.network: nn.Module = ImpalaCnn(shape, num_actions, hidden_dim).to(self.device)
        self.recipe, self.goal, self._shape, self._hidden_dim = recipe, goal, shape, hidden_dim
        self.num_actions = num_actions
        self._picture = ImageFormat(height=shape[0], width=shape[1], grey=shape[2] == 1)
        self._generator = torch.Generator().manual_seed(seed)
        self._half = multiplies_halves(self.device)

    def batches(
        self, demos: Demonstrations, size: int, rng: np.random.Generator, shuffled: bool = True
    ) -> Iterator[Batch]:
        """All labelled rows in random order, again and again; there is at least one."""
        rows = np.concatenate([np.arange(*span) for span in demos.trained])
        rows = rows[demos.actions[rows] != UNLABELLED]
        left: NDArray[np.int64] = rows[:0]
        while True:
            while len(left) < size:
                left = np.concatenate([left, rng.permutation(rows)])
            taken, left = left[:size], left[size:]
            yield Batch(rows=taken, first=demos.starts[taken] == taken)

    def logits(self, demos: Demonstrations, batch: Batch) -> Tensor:
        """See `Student`; in half the bits where that is faster: nine tenths of an update's time are convolutions."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            logits = self.network(torch.from_numpy(demos.pictures[batch.rows]).to(self.device))
        return logits.float()

    @torch.inference_mode()
    def episode_logits(self, demos: Demonstrations, span: Span) -> Tensor:
        """See `Student`."""
        rows = torch.from_numpy(demos.pictures[slice(*span)])
        return torch.cat([self.network(part.to(self.device)) for part in rows.split(EVALUATED_ROWS)])

    def begin(self, games: int) -> None:
        """Nothing to forget."""

    def reseed(self, seed: int) -> None:
        """See `Student`."""
        self._generator.manual_seed(seed)

    @torch.inference_mode()
    def act(self, views: Sequence[View], games: Sequence[int]) -> list[int]:
        """Drawn from what was learnt."""
        pictures = np.stack([self._picture.apply(view.picture) for view in views])
        logits = self.network(torch.from_numpy(pictures).to(self.device)).cpu()
        return torch.multinomial(logits.softmax(-1), 1, generator=self._generator)[:, 0].tolist()

    def save(self, folder: Path, step: int, best: bool) -> Path:
        """`impala_<step>.pt` or `best.pt`; of the former the newest few are kept."""
        path = folder / ("best.pt" if best else f"impala_{step}.pt")
        facts = {
            "recipe": asdict(self.recipe),
            "goal": asdict(self.goal),
            "shape": self._shape,
            "num_actions": self.num_actions,
            "hidden_dim": self._hidden_dim,
        }
        state = {"format": FORMAT, "step": step, "facts": json.dumps(facts), "network": self.network.state_dict()}
        target = io.BytesIO()
        torch.save(state, target)
        with replacing(path) as temporary:
            temporary.write_bytes(target.getvalue())
        written = sorted(folder.glob("impala_*.pt"), key=lambda file: int(file.stem.split("_")[1]))
        for old in written[:-KEPT_CHECKPOINTS]:
            old.unlink()
        return path


class HierQStudent:
    """HierQ, as the trainer makes it; its checkpoints are a run's."""

    def __init__(
        self,
        recipe: Recipe,
        goal: Goal,
        config: Config,
        space: Mapping[str, Shaped],
        num_actions: int,
        sequence_length: int,
    ) -> None:
        """`config` is written with the checkpoints; `sequence_length`: rows of a lane in a batch."""
        self.recipe, self.goal, self._config, self._length = recipe, goal, config, sequence_length
        self.num_actions = num_actions
        self.learner = Learner(config, space, num_actions)
        self.device = self.learner.device
        self.network: nn.Module = self.learner.networks.online
        self._stack = (space["frames"].shape or (1,))[0]
        self._temperature = config.exploration.temperature or 1.0
        self._memory: HierQState | None = None  # of the lanes
        self._state: NDArray[Any] = self.learner.initial_state(0)  # of the games

    def batches(
        self, demos: Demonstrations, size: int, rng: np.random.Generator, shuffled: bool = False
    ) -> Iterator[Batch]:
        """Of each lane the next rows, time first; `shuffled`: rows from anywhere, which no memory comes with."""
        draw = _windows if shuffled else _lanes
        self._memory = None
        for rows in draw(demos.trained, max(1, size // self._length), self._length, rng):
            first = demos.starts[rows] == rows
            first[0] |= shuffled
            yield Batch(rows=rows.ravel(), first=first.ravel())

    def logits(self, demos: Demonstrations, batch: Batch) -> Tensor:
        """See `Student`."""
        rows = batch.rows.reshape(self._length, -1)
        memory = self._memory or self.learner.networks.online.initial_state(rows.shape[1])
        values, memory = self._unroll(demos, rows, batch.first.reshape(rows.shape), memory)
        self._memory = memory.detach()
        return values.flatten(0, 1)

    @torch.inference_mode()
    def episode_logits(self, demos: Demonstrations, span: Span) -> Tensor:
        """See `Student`."""
        memory = self.learner.networks.online.initial_state(1)
        found = []
        for begin in range(*span, EVALUATED_ROWS):
            rows = np.arange(begin, min(begin + EVALUATED_ROWS, span[1]))[:, None]
            values, memory = self._unroll(demos, rows, demos.starts[rows] == rows, memory)
            found.append(values[:, 0])
        return torch.cat(found)

    def _unroll(
        self, demos: Demonstrations, rows: NDArray[np.int64], first: NDArray[np.bool_], memory: HierQState
    ) -> tuple[Tensor, HierQState]:
        """Logits `[T, B, A]` of rows `[T, B]`, and the memory after them."""
        frames = demos.inputs["frames"][stacked_rows(demos.starts, rows, self._stack)]
        arrays = (frames, demos.inputs["structured"][rows], demos.inputs["visited"][rows], first)
        seen = [torch.from_numpy(np.ascontiguousarray(array)).to(self.device) for array in arrays]
        values, memory, _ = self.learner.networks.online.unroll(seen[0], seen[1], seen[2], seen[3], memory)
        return values / self._temperature, memory

    def begin(self, games: int) -> None:
        """With empty memories."""
        self.learner.networks.copy_to_target()  # it may be the one that acts
        self._state = self.learner.initial_state(games)

    def reseed(self, seed: int) -> None:
        """See `Student`."""
        self.learner.generator.manual_seed(seed)

    def act(self, views: Sequence[View], games: Sequence[int]) -> list[int]:
        """Drawn from what was learnt."""
        observation = {name: np.stack([view.inputs[name] for view in views]) for name in views[0].inputs}
        first = np.array([view.first for view in views])
        rows = np.array(games)
        result = self.learner.act(observation, first, self._state[rows], np.zeros(len(rows), np.float32))
        self._state[rows] = result.state
        return result.actions.tolist()

    def save(self, folder: Path, step: int, best: bool) -> Path:
        """`checkpoints/step_<N>` or `best/step_<N>`, as a training run writes them."""
        self.learner.networks.copy_to_target()
        facts = json.dumps({"recipe": asdict(self.recipe), "goal": asdict(self.goal)})
        state = {"learner": self.learner.state_dict(), "imitation": facts}
        where = folder / ("best" if best else "checkpoints")
        return save_checkpoint(where, step, state, self._config, keep=1 if best else KEPT_CHECKPOINTS)


def multiplies_halves(device: torch.device) -> bool:
    """Whether this processor has instructions for bfloat16; without them torch would be slower, not faster."""
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.8
        return False
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def load_impala(path: Path, device: str, seed: int) -> ImpalaStudent:
    """The student in a file.

    Raises:
        UserError: it is damaged, or something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        facts = json.loads(state["facts"])
        if state["format"] != FORMAT:
            raise ValueError(f"format {state['format']}")
        student = ImpalaStudent(
            Recipe.from_facts(facts["recipe"]),
            _goal(facts["goal"]),
            (facts["shape"][0], facts["shape"][1], facts["shape"][2]),
            facts["num_actions"],
            facts["hidden_dim"],
            device,
            seed,
        )
        student.network.load_state_dict(state["network"])
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except UserError:
        raise
    except Exception as error:  # damage makes torch and zipfile raise nearly anything
        raise UserError(f"{path} is damaged, or no student written by `imitate bc --student impala`") from error
    return student


def load_hierq(
    checkpoint: Path, game: Game, recipe: Recipe, goal: Goal, device: str, seed: int, sequence_length: int = 1
) -> HierQStudent:
    """The student in a checkpoint folder, of a training run too; `sequence_length` is for who goes on learning."""
    config = load_checkpoint_config(checkpoint)
    config = replace(config, train=replace(config.train, device=device, seed=seed))
    student = HierQStudent(recipe, goal, config, game.inputs, game.num_actions, sequence_length)
    restore_learner(student.learner.load_state_dict, checkpoint)
    student.learner.generator.manual_seed(seed)
    return student


def read_imitation(checkpoint: Path) -> tuple[Recipe, Goal]:
    """The game and the goal of a checkpoint; one of a training run has the game of its settings and no goal."""
    facts = load_checkpoint(checkpoint).get("imitation")
    if facts is None:
        return Recipe.of_config(load_checkpoint_config(checkpoint)), Goal(milestones=(), lowest_return=math.inf)
    found = json.loads(facts)
    return Recipe.from_facts(found["recipe"]), _goal(found["goal"])


def _goal(facts: dict[str, Any]) -> Goal:
    return Goal(milestones=tuple(facts["milestones"]), lowest_return=float(facts["lowest_return"]))


def _lane(spans: Sequence[Span], rng: np.random.Generator) -> Iterator[int]:
    """Rows of whole episodes, one after the other in random order; it begins anywhere in one, so that lanes differ."""
    begin, end = spans[rng.integers(len(spans))]
    yield from range(int(rng.integers(begin, end)), end)
    while True:
        for number in rng.permutation(len(spans)):
            yield from range(*spans[number])


def _lanes(spans: Sequence[Span], count: int, length: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Rows `[length, count]` of lanes that go on from batch to batch."""
    lanes = [_lane(spans, rng) for _ in range(count)]
    while True:
        yield np.array([[next(lane) for lane in lanes] for _ in range(length)], np.int64)


def _windows(spans: Sequence[Span], count: int, length: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Rows `[length, count]` from anywhere, all equally often; at its end an episode is followed by the next one."""
    rows = np.concatenate([np.arange(*span) for span in spans])
    while True:
        yield rows[(rng.integers(len(rows), size=count) + np.arange(length)[:, None]) % len(rows)]
