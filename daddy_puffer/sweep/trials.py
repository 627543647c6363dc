"""What is known of each trial, rebuilt from the journal. In: facts. Out: `Plan`, `Trial`s, the Pareto set.

A trial is started; later it has an outcome, or a reason why it has none. One that has neither was cut off: it is run
again. Knows no process, no searcher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from daddy_puffer.errors import UserError
from daddy_puffer.sweep.journal import LARGEST, Fact
from daddy_puffer.sweep.space import Parameter, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What stays the same through all of a sweep: its first fact."""

    searcher: str
    objective: str
    episodes: int  # the last so many that began at the true start are measured
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a trial brought."""

    objective: float  # to be large
    cost: float  # seconds of training, to be small
    steps: int  # environment steps of all environments together
    episodes: int  # that the objective is the mean of


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One training run of a sweep."""

    number: int  # from 0, which has the configuration's own values
    settings: Settings
    outcome: Outcome | None = None
    reason: str = ""  # why it failed

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.outcome is not None or bool(self.reason)


def trial_folder(sweep: Path, number: int) -> Path:
    """The run folder of a trial."""
    return sweep / "trials" / f"{number:03d}"


def plan_of(facts: Sequence[Fact]) -> Plan | None:
    """The plan; None before there was one.

    Raises:
        UserError: the facts are of another version.
    """
    return None if not facts else _build(Plan, facts[0], "sweep")


def trials_of(facts: Sequence[Fact]) -> list[Trial]:
    """All trials that were started, by number.

    Raises:
        UserError: the facts are of another version.
    """
    trials: dict[int, Trial] = {}
    for fact in facts[1:]:
        number: Any = fact.get("trial")
        numbered, reason = _is("int", number) and number >= 0, fact.get("reason")
        known = numbered and number in trials
        if fact["event"] == "started" and numbered and _are_settings(fact.get("settings")):
            trials[number] = Trial(number=number, settings=fact["settings"])
        elif fact["event"] == "finished" and known:
            trials[number] = replace(trials[number], outcome=_build(Outcome, fact, "finished"))
        elif fact["event"] == "failed" and known and isinstance(reason, str):
            trials[number] = replace(trials[number], reason=" ".join(reason.split()) or "unknown")
        else:
            raise UserError(f"the journal has an entry that this version does not know: a {fact['event'][:40]!r}")
    return [trials[number] for number in sorted(trials)]


def check_settings(trials: Sequence[Trial], parameters: Sequence[Parameter], folder: Path) -> None:
    """Whether trials searched what is searched now.

    Raises:
        UserError: other settings, or values that no space of these kinds has.
    """
    names = {p.name for p in parameters}
    if any(trial.settings.keys() != names for trial in trials):
        raise UserError(f"{folder}/sweep.yaml was changed: its trials searched other settings")
    for p in parameters:
        if not all(p.space.has(trial.settings[p.name]) or trial.settings[p.name] == p.centre for trial in trials):
            raise UserError(f"{folder}: a trial had a {p.name} that a {p.space.kind} has no place for")


def facts_of(part: Plan | Outcome) -> dict[str, Any]:
    """What the journal keeps of it."""
    return asdict(part)


def pareto(trials: Sequence[Trial]) -> list[Trial]:
    """Those to which no other is better in one of objective and cost and as good in the other; by growing cost."""
    done = [(trial.outcome.cost, -trial.outcome.objective, trial.number, trial) for trial in trials if trial.outcome]
    front: list[Trial] = []
    best = last_cost = float("inf")
    for cost, loss, _, trial in sorted(done):
        if loss < best or (loss == best and cost == last_cost):
            front.append(trial)
            best, last_cost = loss, cost
    return front


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The one with the greatest objective, of equals the cheapest; None where none has finished."""
    front = pareto(trials)
    return next(
        (t for t in front if t.outcome and front[-1].outcome and t.outcome.objective == front[-1].outcome.objective),
        None,
    )


def _build(kind: Any, fact: Fact, event: str) -> Any:
    values = {key: value for key, value in fact.items() if key not in ("event", "trial")}
    try:
        if fact["event"] != event:
            raise TypeError(f"{fact['event']} where {event} belongs")
        for field in fields(kind):
            if not _is(str(field.type), values.get(field.name)):
                raise TypeError(f"{field.name} is no {field.type}, or beyond all bounds")
        return kind(**values)
    except TypeError as error:
        raise UserError(f"the journal was written by another version, or is damaged: {error}") from None


def _is(kind: str, value: Any) -> bool:
    """Whether a value out of JSON is one that a field of this type can have."""
    if kind == "str":
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int if kind == "int" else (int, float)):
        return False
    return -LARGEST < value < LARGEST


def _are_settings(value: Any) -> bool:
    return isinstance(value, dict) and all(_is("float", setting) for setting in value.values())
