"""strategy_pipeline: from a vendor's market-data files to honestly tested signals, as a Dagster graph."""
