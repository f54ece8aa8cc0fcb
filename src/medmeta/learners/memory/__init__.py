"""Learners of the memory family."""
