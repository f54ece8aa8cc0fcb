"""Learners of the metric family."""
