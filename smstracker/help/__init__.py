"""What the app explains beyond the message at hand."""
