"""The documented JSON APIs, one file for each."""
