"""Metrics, protocols and reports, from cached rankings only."""
