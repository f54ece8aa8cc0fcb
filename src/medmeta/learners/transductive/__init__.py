"""Heads that answer the queries of a task together, each helped by all of them."""
