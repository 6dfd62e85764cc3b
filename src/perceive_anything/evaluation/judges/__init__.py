"""Judges: models that read an answer and give points, and what stands in for them offline."""
