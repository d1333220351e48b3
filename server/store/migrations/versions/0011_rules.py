"""Rules and change requests."""

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Change nothing yet."""
