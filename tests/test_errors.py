"""The first line of another library's error states the reason."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, String, create_engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, declarative_base

from lenet_exp.errors import first_line

Base = declarative_base()


class Pair(Base):
    __tablename__ = "pairs"
    key = Column(Integer, primary_key=True)
    value = Column(String, nullable=False)


@pytest.mark.parametrize("query", [True, False], ids=["autoflush before a query", "commit"])
def test_error_of_a_database_states_the_reason(query):
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Pair(key=1, value=None))
        with pytest.raises(SQLAlchemyError) as caught:
            session.scalars(select(Pair)) if query else session.commit()
    assert "pairs.value" in first_line(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("reason\ndetails"), "reason"),
        (ValueError(), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
        (ValueError("several:\n  first\n  second"), "several: first"),
        (ValueError("a" * 400 + "b" * 400), "a" * 329 + " ... " + "b" * 166),
        (ValueError("red\x1b[31m"), "red [31m"),
    ],
)
def test_first_line(error, expected):
    assert first_line(error) == expected
