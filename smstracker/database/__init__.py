"""What stands between the app and its database: engines, the SQLite file, problems in words."""
