"""Gymnasium wrappers, one concern each. They use an environment's public face only."""

from daddy_puffer.wrappers.action_recorder import ActionRecorder
from daddy_puffer.wrappers.bayes import Bayes, SharedPosteriors, run_wide_posteriors
from daddy_puffer.wrappers.curriculum import Curriculum, machine_of, open_registry
from daddy_puffer.wrappers.epsilon import EpsilonEnv
from daddy_puffer.wrappers.novelty import Novelty, VisitCounts, run_wide_counts
from daddy_puffer.wrappers.patience import Patience
from daddy_puffer.wrappers.rnd import RND

__all__ = [
    "RND",
    "ActionRecorder",
    "Curriculum",
    "EpsilonEnv",
    "Novelty",
    "Patience",
    "VisitCounts",
    "machine_of",
    "open_registry",
    "run_wide_counts",
    "Bayes",
    "SharedPosteriors",
    "run_wide_posteriors",
]
