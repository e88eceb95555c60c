"""The lake: what a table must look like, and the only place where files are written, read and joined in time."""
