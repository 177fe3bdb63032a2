"""Alerts: rules that the worker evaluates each minute, and the people who are told."""
