"""Everything about messages that is no page: shared by dashboard, live pages and commands."""
