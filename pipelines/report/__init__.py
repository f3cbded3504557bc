"""What a run came to, for people: one page that opens offline, its figures as PNGs, a model card and a search table."""

from pipelines.report.card import card, search_table
from pipelines.report.evidence import Evidence
from pipelines.report.page import write

__all__ = ["Evidence", "card", "search_table", "write"]
