"""`ActionRecorder`: keeps all buttons of an episode since the true start, so that it can be played again.

In: an `EpsilonEnv` over a game that can be saved, directly (a `Curriculum` goes around it: then what the recorder sees
is what the game is given). Out: the same, and at an episode's end `<folder>/<name>.npz`, a `Recording`: the buttons,
the frames waited, and a hash of the work RAM every `CHECK_STEPS` actions and at the end. An episode that began at a
state with `options["way"]`, its `Chain`, has those buttons before its own, also when the state's parents are gone.
`daddy-puffer replay` plays a recording again and compares.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from numpy.typing import NDArray

from daddy_puffer.arrays import Arrays, as_bytes, as_json, from_json, part, under
from daddy_puffer.errors import UserError
from daddy_puffer.files import read_archive, replacing
from daddy_puffer.game.milestones import milestones_reached
from daddy_puffer.swarm import Chain, Machine
from daddy_puffer.wrappers.epsilon import Observation, owner

WORK_RAM = slice(0xC000, 0xE000)  # addresses
CHECK_STEPS = 100  # actions between two hashes: reading the RAM takes as long as a few steps' overhead
_SHORTER = 0.9  # of two episodes with as many milestones one this much shorter is better
_NAME = re.compile(r"m(\d+)_a(\d+)_.*\.npz")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One episode from the true start: N actions, K hashes."""

    chain: Chain
    machine: Machine
    check_steps: NDArray[np.int64]  # [K] after so many actions since the true start; the last is N
    check_hashes: NDArray[np.uint8]  # [K, 32] sha256 of the work RAM then
    return_env: float  # of the episode itself, that is of its last segment
    milestones: list[str]
    savestate_tag: str  # the state it began from, empty for the true start

    def to_bytes(self) -> bytes:
        """As a compressed npz without pickles."""
        facts = {
            "machine": asdict(self.machine),
            "return_env": self.return_env,
            "milestones": self.milestones,
            "savestate_tag": self.savestate_tag,
        }
        arrays = self.chain.to_arrays()
        arrays |= {"check_steps": self.check_steps, "check_hashes": self.check_hashes}
        target = io.BytesIO()
        np.savez_compressed(target, facts=np.array(json.dumps(facts)), **arrays)
        return target.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Recording:
        """Read `to_bytes`.

        Raises:
            UserError: it is something else.
        """
        try:
            chain = Chain.from_bytes(data)
            arrays = read_archive(data)
            steps, hashes = arrays["check_steps"], arrays["check_hashes"]
            facts = json.loads(str(arrays["facts"]))
            machine = Machine(**facts.pop("machine"))
            found = cls(chain=chain, machine=machine, check_steps=steps, check_hashes=hashes, **facts)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"no recording of actions, or a damaged one: {' '.join(str(error).split())}") from error
        if hashes.shape != (len(steps), 32) or (len(steps) and steps[-1] != len(chain.actions)):
            raise UserError("no recording of actions, or a damaged one: hashes and actions do not agree")
        return found


def ram_hash(memory: Any) -> bytes:
    """Sha256 of the work RAM; `memory` gives bytes by slice of addresses."""
    return hashlib.sha256(bytes(memory[WORK_RAM])).digest()


class ActionRecorder(gymnasium.Wrapper[Observation, np.int64, Observation, np.int64]):
    """See the module's text."""

    def __init__(
        self, env: gymnasium.Env[Observation, np.int64], folder: Path, machine: Machine, *, best_only: bool
    ) -> None:
        """Recordings go to `folder`; `machine` is what `env` plays.

        `best_only`: only an episode that reached more milestones than any recorded so far by this run, or as many in
        fewer actions.
        """
        super().__init__(env)
        self._folder, self._machine, self._best_only = folder, machine, best_only
        self._memory: Any = env.get_wrapper_attr("memory")
        self._visited_cells: Any = env.get_wrapper_attr("visited_cells")
        self._game: Any = owner(env, "last_wait")
        self._best = (0, 0)  # milestones, -actions of the best known recording
        self._chain: Chain | None = None  # None: nothing can be recorded
        self._actions = bytearray()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Keep the last episode, start the next one.

        `options["way"]`: the `Chain` to `options["state"]`; `options["savestate_tag"]`: its name.
        """
        ended = self._finish()
        observation, info = self.env.reset(seed=seed, options=options)
        options = options or {}
        self._tag = options.get("savestate_tag", "")
        self._chain = self._way_to_start(options, ended)
        self._wait, self._return = self._game.last_wait, 0.0
        self._milestones = observation["milestones"]
        self._checks: list[tuple[int, bytes]] = []
        return observation, info

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and take note of the button."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._actions.append(int(action))
        self._return += float(reward)
        self._milestones = observation["milestones"]
        if self._chain is not None and len(self._actions) % CHECK_STEPS == 0:
            self._check(self._chain)
        return observation, reward, terminated, truncated, info

    def get_state(self) -> Arrays:
        """The episode under way."""
        rest = [self._wait, self._return, self._tag, self._best, [(step, made.hex()) for step, made in self._checks]]
        chain = {} if self._chain is None else under("chain", self._chain.to_arrays())
        return {**chain, "actions": as_bytes(self._actions), "milestones": self._milestones, "rest": as_json(rest)}

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave."""
        chain = part(state, "chain")
        self._chain = Chain(**chain) if chain else None
        self._actions, self._milestones = bytearray(state["actions"]), state["milestones"]
        self._wait, self._return, self._tag, best, checks = from_json(state["rest"])
        self._best = tuple(best)
        self._checks = [(step, bytes.fromhex(made)) for step, made in checks]

    def close(self) -> None:
        """Keep the episode that was under way."""
        self._finish()
        super().close()

    def _check(self, chain: Chain) -> None:
        self._checks.append((len(chain.actions) + len(self._actions), ram_hash(self._memory)))

    def _way_to_start(self, options: dict[str, Any], ended: Chain | None) -> Chain | None:
        """How to get where an episode has just begun, None where nobody knows; `ended`: where the last one ended."""
        return Chain.empty() if options.get("state") is None else options.get("way")

    def _whole(self) -> Chain | None:
        """How to get from the true start to where the game is."""
        if self._chain is None or not self._actions:
            return self._chain
        return self._chain.then(self._wait, bytes(self._actions), self._visited_cells())

    def _finish(self) -> Chain | None:
        """Write the episode, if it is one to keep, and forget it; returns the way to where it ended."""
        whole = self._whole()
        if whole is not None and self._actions:
            self._keep(whole)
        self._chain = None
        self._actions.clear()
        return whole

    def _keep(self, whole: Chain) -> None:
        """Write the episode as far as it is, if it is one to keep."""
        names = milestones_reached(self._milestones.tobytes())
        try:
            if not self._best_only or self._is_best(len(names), len(whole.actions)):
                self._write(whole, names)
        except OSError as error:  # a disk that is full does not stop the training
            _log.warning("the actions of an episode cannot be recorded: %s", error)

    def _is_best(self, milestones: int, actions: int) -> bool:
        """Compare with the best known, then with what other processes recorded meanwhile."""
        if not _better(milestones, actions, self._best):
            return False
        found = [_NAME.fullmatch(path.name) for path in self._folder.glob("m*.npz")]
        others = [(int(match[1]), -int(match[2])) for match in found if match]
        self._best = max([self._best, *others])
        return _better(milestones, actions, self._best)

    def _write(self, chain: Chain, milestones: list[str]) -> None:
        last = (len(chain.actions), ram_hash(self._memory))
        checks = [*(check for check in self._checks if check[0] != last[0]), last]
        recording = Recording(
            chain=chain,
            machine=self._machine,
            check_steps=np.array([step for step, _ in checks], np.int64),
            check_hashes=np.array([list(digest) for _, digest in checks], np.uint8),
            return_env=self._return,
            milestones=milestones,
            savestate_tag=self._tag,
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        name = f"m{len(milestones):03d}_a{len(chain.actions):07d}_{stamp}_{os.urandom(4).hex()}.npz"
        with replacing(self._folder / name) as temporary:
            temporary.write_bytes(recording.to_bytes())
        self._best = max(self._best, (len(milestones), -len(chain.actions)))


def _better(milestones: int, actions: int, best: tuple[int, int]) -> bool:
    """More milestones, or as many in clearly fewer actions; `best` holds milestones and minus actions."""
    return milestones > best[0] or (0 < milestones == best[0] and actions < _SHORTER * -best[1])
