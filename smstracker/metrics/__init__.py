"""`GET /metrics`: figures of all processes for Prometheus, read from the database."""
