"""Heads over embeddings that are solved within each task."""
