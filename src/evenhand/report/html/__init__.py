"""The report of one run as one HTML file that works offline."""

from __future__ import annotations

from evenhand.analysis import Audit
from evenhand.analysis.evidence import AuditDetails, read_details
from evenhand.report.html.headline import headline
from evenhand.report.html.identities import identities
from evenhand.report.html.method import evidence, method
from evenhand.report.html.page import render_page
from evenhand.report.html.parts import Section, clean
from evenhand.report.html.place import trade_off
from evenhand.report.html.where import cues_and_intersections, where
from evenhand.store.store import Store


def to_html(audit: Audit, store: Store) -> str:
    """The whole report."""
    look = read_details(store, audit)
    head = audit.head
    subtitle = f"Cue {head.cue}, defense {head.defense}; {len(head.identities)} identities"
    title = f"Does {clean(audit.model)} treat all users alike?"
    return render_page(title, subtitle, sections(audit, look))


def sections(audit: Audit, look: AuditDetails) -> list[Section]:
    """The report's sections, in their order."""
    return [
        headline(audit, look),
        trade_off(audit, look),
        identities(audit),
        where(look),
        cues_and_intersections(audit),
        evidence(look),
        method(audit, look),
    ]
