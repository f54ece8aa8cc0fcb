"""Learners of the gradient family."""
