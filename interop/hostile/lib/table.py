"""table.py README PEER RESULTS - writes one daemon's columns of the two tables in README, between their marks.

RESULTS has a line an attack: name, title, what is right, what happened, by how many milliseconds a KEEPALIVE was late,
the longest that the control took, with tabs between. Rows of attacks that this run did not make stay as they are.
"""

import sys

DAEMONS = ["dunlin", "bird", "frr"]


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def rows_between(text, mark):
    """The text before the table, the table's two head lines, its rows by attack, and the text after it."""
    before, rest = text.split(f"<!-- {mark} -->", 1)
    table, after = rest.split(f"<!-- /{mark} -->", 1)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    rows = {}
    for line in lines[2:]:
        row = cells(line)
        rows[row[0].split(":", 1)[0].strip("`")] = row
    return before, lines[:2], rows, after


def joined(mark, before, head, rows, after):
    body = "\n".join(head + ["| " + " | ".join(rows[name]) + " |" for name in sorted(rows)])
    return f"{before}<!-- {mark} -->\n\n{body}\n\n<!-- /{mark} -->{after}"


def main():
    readme, peer, results = sys.argv[1:4]
    number = DAEMONS.index(peer)
    with open(results, encoding="utf-8") as file:
        results = [line.rstrip("\n").split("\t") for line in file]
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    before, head, rows, after = rows_between(text, "attacks")
    for name, title, right, happened, _, _ in results:
        row = rows.setdefault(name, ["", "", "-", "-", "-"])
        row[0], row[1], row[2 + number] = f"`{name}`: {title}", right, happened.replace("|", "/")
    text = joined("attacks", before, head, rows, after)
    before, head, rows, after = rows_between(text, "silence")
    for name, _, _, _, late, answer in results:
        row = rows.setdefault(name, ["", "-", "-", "-", "-", "-", "-"])
        row[0], row[1 + number], row[4 + number] = f"`{name}`", late, answer
    with open(readme, "w", encoding="utf-8") as file:
        file.write(joined("silence", before, head, rows, after))


if __name__ == "__main__":
    main()
