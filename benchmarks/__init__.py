"""Repeatable measurements against peers and limits; nothing here is imported by the product."""
