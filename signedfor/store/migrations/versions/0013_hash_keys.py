"""The key of references to people."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    keys = op.create_table(
        "hash_keys",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_hash_keys")),
    )
    op.bulk_insert(keys, [{"name": "people", "key": secrets.token_hex(32)}])


def downgrade() -> None:
    op.drop_table("hash_keys")
