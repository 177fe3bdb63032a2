"""Requests to a callback address: their body, their form, and the status update in one."""
