"""Pages of users: the list for administrators, one's own settings, and the audit log."""
