"""Heads that fit a scikit-learn estimator to each task's embeddings; nothing is trained across."""
