"""Live pages: open pages learn which messages have changed."""
