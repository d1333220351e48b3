"""Organizations: the tenants."""

from sqlmodel import Field, SQLModel

from server.store.columns import micros, serial, table_of


class OrganizationRow(SQLModel, table=True):
    """A tenant."""

    __tablename__ = "organizations"

    id: int = serial()
    name: str = Field(unique=True)
    create_time: int = micros()


ORGANIZATIONS = table_of(OrganizationRow)
