"""Two more ways to infer milestone rates from a finished log, to compare the conjugate updates with.

In: outcomes of trials. Out: draws of rates. Slow (seconds), for offline use only. Knows no game.

`gibbs` lends strength between milestones: theta_m ~ Beta(mu kappa, (1 - mu) kappa), mu uniform,
log kappa ~ Normal(log 10, 1.5). The theta are conjugate given mu and kappa (a Gibbs step), which are moved by random
walk Metropolis on logit mu and log kappa (Gelman et al. 2013, chapter 5).

`particle_filter` follows each milestone alone, without a hierarchy, and lets its rate drift: logit theta_t =
logit theta_(t-1) + Normal(0, drift^2), y_t ~ Bernoulli(theta_t): a bootstrap filter with systematic resampling (Gordon
1993; Kitagawa 1996).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, expit, logit

from daddy_puffer.types import Array

_LOG_KAPPA_MEAN, _LOG_KAPPA_DEVIATION = np.log(10.0), 1.5
_WALK = np.array([0.5, 0.7])  # step sizes of logit mu and log kappa
_FLOOR = 1e-9


@dataclass(frozen=True, slots=True)
class GibbsDraws:
    """S draws: `theta` f64 `[S, M]`, `mu` and `kappa` f64 `[S]`; `accepted`: share of Metropolis moves."""

    theta: Array
    mu: Array
    kappa: Array
    accepted: float


def gibbs(
    successes: Array, failures: Array, rng: np.random.Generator, draws: int = 2000, warmup: int = 500
) -> GibbsDraws:
    """Posterior of M rates out of counts, which may be discounted. Both f64 `[M]`."""
    place = np.array([0.0, _LOG_KAPPA_MEAN])  # logit mu, log kappa
    thetas, places, moves = [], [], 0
    for _ in range(warmup + draws):
        alpha, beta = _shape(place)
        theta = np.clip(rng.beta(alpha + successes, beta + failures), _FLOOR, 1.0 - _FLOOR)
        proposed = place + _WALK * rng.normal(size=2)
        if np.log(rng.random()) < _log_density(proposed, theta) - _log_density(place, theta):
            place, moves = proposed, moves + 1
        thetas.append(theta)
        places.append(place)
    kept = np.array(places[warmup:])
    return GibbsDraws(np.array(thetas[warmup:]), expit(kept[:, 0]), np.exp(kept[:, 1]), moves / (warmup + draws))


def _shape(place: Array) -> tuple[float, float]:
    mu, kappa = float(np.clip(expit(place[0]), _FLOOR, 1.0 - _FLOOR)), float(np.exp(place[1]))
    return mu * kappa, (1.0 - mu) * kappa


def _log_density(place: Array, theta: Array) -> float:
    """Of logit mu and log kappa given theta, up to a constant; the first term is the Jacobian of logit mu."""
    alpha, beta = _shape(place)
    prior = -np.logaddexp(0.0, -place[0]) - np.logaddexp(0.0, place[0])
    prior -= 0.5 * ((place[1] - _LOG_KAPPA_MEAN) / _LOG_KAPPA_DEVIATION) ** 2
    likelihood = (alpha - 1.0) * np.log(theta) + (beta - 1.0) * np.log1p(-theta) - betaln(alpha, beta)
    return float(prior + likelihood.sum())


@dataclass(frozen=True, slots=True)
class Filtered:
    """T trials: `predicted` P(y_t = 1) before trial t was seen; `mean`, `lower`, `upper` of theta_t after it. `[T]`."""

    predicted: Array
    mean: Array
    lower: Array
    upper: Array


def particle_filter(outcomes: Array, rng: np.random.Generator, particles: int = 2000, drift: float = 0.15) -> Filtered:
    """Follow one rate through its trials; `outcomes` bool `[T]`. The first rate is uniform on [0, 1]."""
    position = logit(rng.uniform(_FLOOR, 1.0 - _FLOOR, particles))
    rows = []
    for outcome in outcomes:
        position = position + drift * rng.normal(size=particles)
        theta = expit(position)
        weight = theta if outcome else 1.0 - theta
        predicted = theta.mean()
        position = position[_systematic(weight / weight.sum(), rng)]
        theta = expit(position)
        rows.append((predicted, theta.mean(), *np.quantile(theta, (0.025, 0.975))))
    columns = np.array(rows).reshape(-1, 4).T
    return Filtered(*columns)


def _systematic(weight: Array, rng: np.random.Generator) -> Array:
    """Which particles go on, i64 `[P]`: each w P times, rounded up or down."""
    points = (rng.random() + np.arange(len(weight))) / len(weight)
    return np.minimum(np.searchsorted(np.cumsum(weight), points), len(weight) - 1)
