"""Training any learner: the loop and its checkpoints."""
