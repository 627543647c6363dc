"""Who chooses the next settings: CARBS, Optuna, or chance. In: parameters, outcomes. Out: settings.

All have one form, `Searcher`. What they know is rebuilt from the journal's outcomes when a sweep goes on: none of them
saves anything. CARBS (Fetterman et al. 2023, arXiv 2306.08055) searches around the Pareto front of objective and cost;
Optuna's TPE (Ozaki et al. 2020 for several objectives) and chance search the unit cube behind `Space.from_unit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from daddy_puffer.errors import UserError
from daddy_puffer.sweep.space import Parameter, Settings
from daddy_puffer.sweep.trials import Trial

NAMES = ("carbs", "optuna", "random")
TITLES = {
    "carbs": "CARBS (imbue), around the Pareto front of objective and seconds",
    "optuna": "Optuna's TPE, for objective and seconds",
    "random": "random search",
}
CARBS_FILES = ("carbs.py", "model.py", "utils.py", "serialization.py")  # of imbue's package, and of no other
CARBS_LINE = "pip install 'daddy_puffer[carbs]', with Python 3.11"
SEEDS = 2**32  # that numpy knows
FEWEST_RANDOM = 4  # trials before CARBS fits a model


class Searcher(Protocol):
    """Chooses settings, one trial at a time; trial 0, the configuration's own values, is not asked for."""

    def suggest(self, number: int) -> Settings:
        """Settings for trial `number`."""

    def observe(self, trial: Trial) -> None:
        """Learn from a trial that has ended, whether it was suggested in this session or not."""


class RandomSearch:
    """Every parameter drawn evenly along its space, by seed and trial: the same after a crash as without."""

    def __init__(self, parameters: Sequence[Parameter], seed: int) -> None:
        self._parameters, self._seed = parameters, seed

    def suggest(self, number: int) -> Settings:
        """Drawn from a generator of the trial's own."""
        shares = np.random.default_rng([self._seed % SEEDS, number]).random(len(self._parameters))
        return {p.name: p.space.from_unit(float(u)) for p, u in zip(self._parameters, shares, strict=True)}

    def observe(self, trial: Trial) -> None:
        """Chance learns nothing."""


class OptunaSearch:
    """Optuna's tree-structured Parzen estimator for two objectives."""

    def __init__(self, parameters: Sequence[Parameter], seed: int, seen: int) -> None:
        """`seen`: trials before this session, so that a session does not begin with the draws of another."""
        self._optuna = import_module("optuna")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        sampler = self._optuna.samplers.TPESampler(seed=(seed + seen) % SEEDS)
        self._study = self._optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        self._axes = {p.name: self._optuna.distributions.FloatDistribution(0.0, 1.0) for p in parameters}
        self._parameters = parameters
        self._asked: dict[int, Any] = {}

    def suggest(self, number: int) -> Settings:
        """What the sampler asks for."""
        asked = self._asked[number] = self._study.ask(self._axes)
        return {p.name: p.space.from_unit(asked.params[p.name]) for p in self._parameters}

    def observe(self, trial: Trial) -> None:
        """Tell the study, which need not have asked."""
        values = None if trial.outcome is None else [trial.outcome.objective, trial.outcome.cost]
        states = self._optuna.trial.TrialState
        state = states.FAIL if values is None else states.COMPLETE
        if trial.number in self._asked:
            self._study.tell(self._asked.pop(trial.number), values, state=state)
            return
        shares = {p.name: min(max(p.space.to_unit(trial.settings[p.name]), 0.0), 1.0) for p in self._parameters}
        known = self._optuna.trial.create_trial(values=values, params=shares, distributions=self._axes, state=state)
        self._study.add_trial(known)


class CarbsSearch:
    """Imbue's CARBS, with seconds as cost."""

    def __init__(self, parameters: Sequence[Parameter], seed: int, trials: int, seen: Sequence[Trial]) -> None:
        """`trials`: how many there will be; a third of them, but not more than one a parameter, are random.

        `seen`: those before this session. CARBS tries the best again from time to time, and keeps off what is under
        way: as it keeps no files, both are counted here.
        """
        self._carbs = _import_carbs()
        spaces = import_module("carbs.utils")
        self._parameters = {p.name: p for p in parameters}
        config = self._carbs.CARBSParams(
            better_direction_sign=1,
            seed=(seed + len(seen)) % SEEDS,  # so that a session does not begin with the draws of another
            num_random_samples=max(FEWEST_RANDOM, min(len(parameters), trials // 3)),
            is_wandb_logging_enabled=False,
            is_saved_on_every_observation=False,
        )
        params = [
            self._carbs.Param(name=p.name, space=_carbs_space(spaces, p), search_center=p.centre) for p in parameters
        ]
        self._search = self._carbs.CARBS(config, params)
        self._search.resample_count = _repeats(seen, parameters)
        for trial in seen:
            if not trial.ended:
                place = [param.space.basic_from_param(trial.settings[param.name]) for param in params]
                under_way = spaces.SuggestionInBasic(real_number_input=import_module("torch").tensor(place))
                self._search.outstanding_suggestions[str(trial.number)] = under_way

    def suggest(self, number: int) -> Settings:
        """What CARBS asks for; it remembers that until it is observed."""
        suggestion = self._search.suggest(suggestion_id=str(number)).suggestion
        return {name: p.space.nearest(suggestion[name]) for name, p in self._parameters.items()}

    def observe(self, trial: Trial) -> None:
        """An observation; CARBS has a model of its own for failures."""
        outcome = trial.outcome
        self._search.observe(
            self._carbs.ObservationInParam(
                input={**trial.settings, "suggestion_uuid": str(trial.number)},
                output=0.0 if outcome is None else outcome.objective,
                cost=1.0 if outcome is None else max(outcome.cost, 1e-3),
                is_failure=outcome is None,
            )
        )


def choose_searcher(wanted: str) -> str:
    """The searcher's name; "auto" is CARBS where imbue's is installed, else Optuna, else chance.

    Raises:
        UserError: `wanted` is not installed, or the package `carbs` is not imbue's.
    """
    if wanted in ("auto", "carbs") and find_spec("carbs") is not None:
        check_carbs()
        return "carbs"
    if wanted == "carbs":
        raise UserError(f"CARBS is not installed: {CARBS_LINE} (or --searcher optuna)")
    if wanted in ("auto", "optuna") and find_spec("optuna") is not None:
        return "optuna"
    if wanted == "optuna":
        raise UserError("Optuna is not installed: pip install 'daddy_puffer[sweep]' (or --searcher random)")
    return "random"


def make_searcher(
    name: str, parameters: Sequence[Parameter], seed: int, trials: int, seen: Sequence[Trial]
) -> Searcher:
    """A searcher that knows the trials seen so far."""
    searcher: Searcher
    if name == "carbs":
        searcher = CarbsSearch(parameters, seed, trials, seen)
    elif name == "optuna":
        searcher = OptunaSearch(parameters, seed, len(seen))
    else:
        searcher = RandomSearch(parameters, seed)
    for trial in seen:
        if trial.ended:
            searcher.observe(trial)
    return searcher


def check_carbs() -> None:
    """Look at the files of the package `carbs`, without importing it.

    Raises:
        UserError: it is another package of that name (PyPI has one).
    """
    spec = find_spec("carbs")
    homes = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    if not any(all((home / name).is_file() for name in CARBS_FILES) for home in homes):
        raise UserError(
            f"the installed package carbs is not imbue's CARBS but another one: pip uninstall carbs, then {CARBS_LINE} "
            "(or --searcher optuna)"
        )


def _import_carbs() -> Any:
    check_carbs()
    try:
        import_module("loguru").logger.disable("carbs")  # a line for every suggestion
        return import_module("carbs")
    except ImportError as error:
        missing = error.name or str(error)
        raise UserError(f"CARBS cannot be used, {missing} is missing: {CARBS_LINE} (or --searcher optuna)") from None


def _repeats(trials: Sequence[Trial], parameters: Sequence[Parameter]) -> int:
    """How many had the settings of one before."""
    places = np.array([[float(trial.settings[p.name]) for p in parameters] for trial in trials])
    return sum(bool(np.isclose(places[:n], place, atol=0.0).all(axis=1).any()) for n, place in enumerate(places))


def _carbs_space(spaces: Any, parameter: Parameter) -> Any:
    space = parameter.space
    options: dict[str, Any] = {"min": space.min, "max": space.max, "scale": space.step}
    if space.kind != "LogitSpace":
        options.update(is_integer=space.is_integer, rounding_factor=space.rounding_factor)
    if space.kind == "LogSpace":
        options["base"] = space.base
    return getattr(spaces, space.kind)(**options)
