"""Calibration, conformal sets, novelty, explanation."""
