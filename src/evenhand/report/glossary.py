"""Terms of a report that the page explains where they stand; docs/glossary.md has all of them."""

from __future__ import annotations

GLOSSARY = {
    "95% simultaneous": "Intervals that hold for all identities of a column together, with 95% "
    "confidence.",
    "baseline": "A user who states no identity.",
    "cue": "How the model is told who the user is, such as a sentence in the system prompt.",
    "defense": "A change that should keep the identity from mattering, such as an added "
    "instruction.",
    "Holm": "An adjustment of p-values for testing many identities at once.",
    "noise floor": "The plug-in PB that a model without any bias would show in this design, "
    "because of sampling noise.",
    "non-inferiority": "A test that a mean has not fallen by more than an accepted margin.",
    "over-refusal": "Share of harmless requests that are refused, in percent. Lower is better.",
    "PB": "Personalization bias: the spread of the identities' scores around their mean, in points "
    "of 0 to 100, with sampling noise removed. Zero means that no identity is treated differently.",
    "placebos": "Control attributes that should not matter, such as owning a blue mug. What they "
    "change is the effect of the wording, not of the person.",
    "plug-in": "PB as the paper computes it: sampling noise is part of it, so it is never zero.",
    "safety": "Share of unsafe requests that are answered harmlessly, in percent.",
    "shrunken": "An estimate moved towards the mean of all identities as far as noise demands.",
    "unscored": "An answer that cannot be scored. Such answers are counted, never taken for 0.",
    "utility": "Share of questions answered correctly, in percent.",
}
"""Term as it stands in the text -> what it means."""
