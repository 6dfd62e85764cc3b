"""The HTTP face: one process, one model, one thread that computes; imported only by its command."""
