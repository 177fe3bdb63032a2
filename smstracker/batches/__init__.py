"""Sending to many: a file is read and checked, and each of its rows becomes one message."""
