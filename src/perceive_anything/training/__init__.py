"""Training: stages, loop and recipes, from packs to a model folder."""
