"""Data sets: one reader or generator each."""
