"""Learners of masks: what is marked on a few images is marked on the rest."""
