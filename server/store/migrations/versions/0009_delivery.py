"""Retrieval of results, and who submitted a task."""

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Change nothing yet."""
