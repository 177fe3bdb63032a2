"""The folded texts of messages for the search, maintained by triggers on PostgreSQL."""

from sqlalchemy import Column, ForeignKey, Integer, Table, Text

from smstracker.models.messages import BigId, Message

message_text = Table(
    "message_text",
    Message.metadata,
    Column("message_id", BigId, ForeignKey("message.id"), primary_key=True),
    Column("owner_id", Integer, nullable=False),
    Column("body", Text, nullable=False),
)
