"""Save states shared by a swarm of environments: where they are kept, and which one is started from next."""

from daddy_puffer.swarm.registry import Chain, Machine, SavedState, StateFacts, StateRegistry
from daddy_puffer.swarm.sampling import MODES, Candidates, probabilities

__all__ = ["MODES", "Candidates", "Chain", "Machine", "SavedState", "StateFacts", "StateRegistry", "probabilities"]
