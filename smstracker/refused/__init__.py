"""Refused callbacks: what is stored of them, why they were refused, how they are replayed."""
