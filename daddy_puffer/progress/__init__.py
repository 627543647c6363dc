"""How sure milestones are reached: posteriors, alarms, models of a run's log. Knows no environment and no network."""

from daddy_puffer.progress.posteriors import Posteriors, trials

__all__ = ["Posteriors", "trials"]
