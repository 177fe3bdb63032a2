"""Sums in SQL."""

from sqlalchemy import case, func
from sqlalchemy.sql import ColumnElement, SQLColumnExpression


def sum_if(condition: ColumnElement[bool], value: SQLColumnExpression[int]) -> ColumnElement[int]:
    """Sum `value` over the rows that meet the condition; 0 if none does."""
    return func.coalesce(func.sum(case((condition, value), else_=0)), 0)
