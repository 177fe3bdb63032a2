"""Counters of the sign-in limits, shared by every process."""

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from smstracker.extensions import Model


class RateLimit(Model):
    """Hits of one key in the window that ends at `expires_at`, in seconds since 1970."""

    __tablename__ = "rate_limit"
    __table_args__ = (Index(None, "expires_at"),)

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    hits: Mapped[int]
    expires_at: Mapped[float]
