"""The vocabulary of text messages. Pure: imports nothing else of ours."""
