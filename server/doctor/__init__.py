"""Finds the mistakes that people make with a house, before they cost something. It changes nothing."""
