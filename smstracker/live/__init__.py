"""Telling open pages which messages have changed."""
