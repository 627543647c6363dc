"""A small stand-in for pokemonred_puffer's seams, written from what is known of its behaviour: no code of it is here.

The real one is tested in tests/upstream. Here are its command line, how it finds classes by name, how it calls
environment, wrappers, policy and trainer, and those of its mistakes that a plug-in has to live with.
"""
