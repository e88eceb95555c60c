"""The vendor's edge: which objects there are, fetching them, and turning them into checked rows with a quarantine.

Knows `market` and `lake` only. What the rows mean for trading is decided further down the way.
"""
