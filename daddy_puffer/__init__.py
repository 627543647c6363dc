"""A recurrent hierarchical Q-agent for Pokémon Red, beside pokemonred_puffer or alone on its practice cartridge."""

__version__ = "0.1.0"

try:  # pufferlib pulls in the old gym, whose import prints a notice that no user of ours can act on
    from gym_notices.notices import notices as _gym_notices  # type: ignore[import-untyped]

    _gym_notices.clear()
except ImportError:
    pass
