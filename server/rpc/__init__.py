"""What every call passes through, whichever door it came in by."""
