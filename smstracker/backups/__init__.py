"""Backups: the whole database in one file, made while the app runs, and its way back."""
