"""Measuring learners on tasks: per-task records first, summaries from them."""
