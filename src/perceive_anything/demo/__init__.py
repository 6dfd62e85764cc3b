"""The web demo: Gradio around an own canvas on which regions are pointed at."""
