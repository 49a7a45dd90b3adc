"""Files of campaigns that the operations page has checked, until they are started."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "campaign_uploads",
        sa.Column("upload_id", sa.String(43), nullable=False),
        sa.Column("uploaded_by", sa.String(100), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("to_column", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.String(64)),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", name=op.f("pk_campaign_uploads")),
    )
    op.create_index("ix_campaign_uploads_created_at", "campaign_uploads", ["created_at"])
    op.create_table(
        "campaign_upload_parts",
        sa.Column("upload_id", sa.String(43), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["campaign_uploads.upload_id"],
            name=op.f("fk_campaign_upload_parts_upload_id_campaign_uploads"),
        ),
        sa.PrimaryKeyConstraint("upload_id", "number", name=op.f("pk_campaign_upload_parts")),
    )


def downgrade() -> None:
    op.drop_table("campaign_upload_parts")
    op.drop_table("campaign_uploads")
