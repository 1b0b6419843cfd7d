"""table.py README PEER RESULTS - writes one daemon's column of the table in README, between the marks.

RESULTS has a line an attack: name, title, what is right, what happened, with tabs between. Rows of attacks that this
run did not make stay as they are.
"""

import sys

MARK, END = "<!-- attacks -->", "<!-- /attacks -->"
DAEMONS = ["dunlin", "bird", "frr"]


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def main():
    readme, peer, results = sys.argv[1:4]
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(MARK, 1)
    table, after = rest.split(END, 1)
    lines = [line for line in table.splitlines() if line.startswith("|")]
    head, rows = lines[:2], {}
    for line in lines[2:]:
        row = cells(line)
        rows[row[0].split(":", 1)[0].strip("`")] = row
    column = 2 + DAEMONS.index(peer)
    with open(results, encoding="utf-8") as file:
        for line in file:
            name, title, right, happened = line.rstrip("\n").split("\t")
            row = rows.setdefault(name, ["", "", "-", "-", "-"])
            row[0], row[1], row[column] = f"`{name}`: {title}", right, happened.replace("|", "/")
    body = "\n".join(head + ["| " + " | ".join(rows[name]) + " |" for name in sorted(rows)])
    with open(readme, "w", encoding="utf-8") as file:
        file.write(f"{before}{MARK}\n\n{body}\n\n{END}{after}")


if __name__ == "__main__":
    main()
