"""Vocabulary of text messages. Pure: imports nothing of ours."""
