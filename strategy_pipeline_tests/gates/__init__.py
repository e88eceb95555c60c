"""Gates: what must hold of the whole way from data to trades, and mutants that prove the gates can fail."""
