"""Detectors as declarations: what a setup is, how it is scored, and the one way to evaluate it on feature rows.

Thresholds for accepting a signal, style scores and context live in scoring; fills and exits in backtest.
"""
