"""Database engines, the SQLite file, and database errors explained."""
