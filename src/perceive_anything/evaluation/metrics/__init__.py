"""Metrics: answers in, scores as the papers print them out."""
