"""Evaluation: what the model gets right on annotated images, through the same door as users."""
