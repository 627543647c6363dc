"""Whether a policy has an opinion, and more than one: a warning when it stays near chance or at one button.

In: what the policy made of every step, its action values and the action chosen before exploration. Out: two numbers an
interval and, now and then, a sentence. Knows no network; costs microseconds a step.

The policy is softmax(values / temperature). An entropy near its maximum says that all actions are worth the same to it:
nothing was learned, or the temperature outweighs the rewards. One action nearly always says the opposite: it is stuck
at a title screen or a wall. Both are usual for a while, so a warning takes several intervals in a row, comes once, and
again only after things were better meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daddy_puffer.types import Array

NEAR_MAXIMUM = 0.97  # of the entropy of chance
DOMINANT = 0.9  # share of one action
PATIENCE = 10  # intervals in a row


class Variety:
    """Follows one run."""

    def __init__(self, actions: Sequence[str], temperature: float, patience: int = PATIENCE) -> None:
        """Names of the actions; `temperature` 0: the best action is always taken, and has no entropy to speak of."""
        self._names, self._temperature, self._patience = tuple(actions), temperature, patience
        self._counts = np.zeros(len(self._names), np.int64)
        self._entropy = 0.0  # sum over steps, nats
        self._intervals = {"entropy": 0, "action": 0}  # in a row that were bad

    def add(self, values: Array, actions: Array) -> None:
        """One step of all environments: values f32 `[N, A]`, chosen actions i64 `[N]`."""
        self._counts += np.bincount(actions, minlength=len(self._names))
        if self._temperature > 0.0:
            scaled = (values - values.max(axis=1, keepdims=True)) / self._temperature
            weights = np.exp(scaled)
            total = weights.sum(axis=1)
            # H = log Z - E[x] of a softmax of x
            self._entropy += float((np.log(total) - (weights * scaled).sum(axis=1) / total).sum())

    def take(self) -> tuple[dict[str, float], list[str]]:
        """Measurements of the interval, which ends, and warnings; nothing of an interval without steps."""
        steps = int(self._counts.sum())
        if not steps:
            return {}, []
        commonest = int(self._counts.argmax())
        share = float(self._counts[commonest]) / steps
        entropy = self._entropy / steps / float(np.log(len(self._names)))
        self._counts[:], self._entropy = 0, 0.0
        found, long = [], f"for {self._patience} intervals"
        if self._is_due("entropy", entropy > NEAR_MAXIMUM):
            found.append(
                f"the policy is near chance {long}: its entropy is {entropy:.0%} of the highest there is; see "
                "exploration.temperature and the scale of rewards"
            )
        if self._is_due("action", share > DOMINANT):
            found.append(f"the policy presses {self._names[commonest]} in {share:.0%} of its steps {long}")
        return {"policy/entropy_share": entropy, "policy/commonest_action_share": share}, found

    def _is_due(self, what: str, bad: bool) -> bool:
        self._intervals[what] = self._intervals[what] + 1 if bad else 0
        return self._intervals[what] == self._patience
