"""Datasets, their rows, and the answers that were given about them."""

from sqlalchemy import BigInteger
from sqlmodel import Field, Index, SQLModel

from server.store.columns import micros, reference, serial


class DatasetRow(SQLModel, table=True):
    """The declaration of a dataset."""

    __tablename__ = "datasets"
    __table_args__ = (Index("datasets_by_name", "organization_id", "name", unique=True),)

    id: int = serial()
    organization_id: int = reference("organizations.id")
    name: str
    columns: str  # JSON: [{"name", "type", "nullable"}, ...]
    buckets_per_user: int
    version: int = Field(sa_type=BigInteger)
    secret: bytes  # Keys the choice of the buckets in which a user counts.
    create_time: int = micros()


class UserRow(SQLModel, table=True):
    """One uploaded row of one user.

    No foreign key, as it would be checked for every row of an upload; the upload's own transaction reads the dataset.
    """

    __tablename__ = "dataset_rows"
    __table_args__ = (Index("rows_of_dataset", "dataset_id"),)

    id: int = serial()
    dataset_id: int = Field(sa_type=BigInteger)
    user_id: str
    data: str  # JSON: the values, in the order of the dataset's columns


class AnswerRow(SQLModel, table=True):
    """An anonymised answer, kept so that the same question is never drawn twice."""

    __tablename__ = "answers"

    dataset_id: int = reference("datasets.id", primary_key=True)
    version: int = Field(sa_type=BigInteger, primary_key=True)
    question: str = Field(primary_key=True)  # canonical form, JSON
    answer: str  # JSON
