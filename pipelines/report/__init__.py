"""Reports of a run for people: one page that opens offline, its figures as PNGs, a model card and a search table."""

from pipelines.report.card import card
from pipelines.report.evidence import Evidence
from pipelines.report.page import write
from pipelines.report.search import search_table

__all__ = ["Evidence", "card", "search_table", "write"]
