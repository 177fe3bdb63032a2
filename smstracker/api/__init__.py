"""The API for programs, guarded by tokens alone."""
