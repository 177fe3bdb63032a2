"""Insights: outcomes, failures, delivery times and spend, in numbers and charts."""
