"""Nothing: batches, watching and retries need no more than the first tables have."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change nothing."""
