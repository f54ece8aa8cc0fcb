"""Learners of the optimiser family: the rule of the inner steps is a network itself."""
