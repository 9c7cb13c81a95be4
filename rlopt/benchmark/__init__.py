"""Suites of environments: tuning, final runs, and the protocol between them."""
