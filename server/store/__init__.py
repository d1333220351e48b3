"""SQL, one file per noun. `sqlite.py` alone knows its engine; everybody else writes statements once."""
