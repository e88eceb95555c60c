"""A deterministic market for the demo and the tests, written as the vendor would publish it."""
