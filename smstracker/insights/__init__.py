"""What became of the messages, in numbers and charts."""
