"""That links between the Markdown pages lead somewhere, that each page is reached, and that alerts and
checks have their places in them, and that commands are as they say.
pages_test.py POOLD [unittest's arguments]"""

import pathlib
import re
import subprocess
import sys
import unittest

SOURCES = pathlib.Path(__file__).resolve().parent.parent.parent
POOLD = sys.argv.pop(1)
ROOTS = (".ci", "bench", "docs", "examples", "include", "packaging", "poold", "shim", "tests")
FENCED = re.compile(r"^```.*?^```", re.M | re.S)
LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")


def without_code(text):
    """Neither fenced nor indented blocks, nor code within a line: what stands there is no link."""
    text = FENCED.sub("", text)
    lines = []
    code = False
    for line in text.split("\n"):
        # An indented block begins after an empty line.
        code = line.startswith("    ") and (code or not lines or not lines[-1].strip())
        lines.append("" if code else line)
    return re.sub(r"(`+)(?:(?!\1).)+\1", "", "\n".join(lines))


def anchors(text):
    """Those that GitHub makes of headings."""
    found = set()
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", FENCED.sub("", text), re.M):
        name = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-")
        plain, count = name, 0
        while name in found:
            count += 1
            name = f"{plain}-{count}"
        found.add(name)
    return found


def sources():
    """Files of the tree; what tests and builds fetch or make beside them is none."""
    for root in (SOURCES, *(SOURCES / root for root in ROOTS)):
        for path in root.glob("*") if root == SOURCES else root.rglob("*"):
            if path.is_file() and not {"node_modules", "__pycache__"} & set(path.parts):
                yield path


def pages():
    return sorted(file for file in sources() if file.suffix == ".md")


def links(page):
    """Of a page: each target of its own tree as (text, file, anchor)."""
    for target in LINK.findall(without_code(page.read_text())):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        yield target, (page.parent / path).resolve() if path else page, anchor


def name_of(path):
    return str(path.relative_to(SOURCES))


class Links(unittest.TestCase):
    def test_lead_to_what_is_there(self):
        wrong = []
        for page in pages():
            for target, file, anchor in links(page):
                if not file.is_relative_to(SOURCES) or not file.exists():
                    wrong.append(f"{name_of(page)}: {target}: there is no such file")
                elif anchor and anchor not in anchors(file.read_text()):
                    wrong.append(f"{name_of(page)}: {target}: there is no such heading")
        self.assertEqual(wrong, [])

    # "docs/scale.md" in a message, a comment, a script.
    def test_pages_that_other_files_name(self):
        wrong = []
        for file in sources():
            for name in re.findall(r"(?<![\w/.-])docs/[\w-]+\.md", file.read_text(errors="replace")):
                if not (SOURCES / name).exists():
                    wrong.append(f"{name_of(file)}: {name}")
        self.assertEqual(wrong, [])


class Pages(unittest.TestCase):
    def test_the_index_has_each_page_of_docs(self):
        index = SOURCES / "docs" / "README.md"
        linked = {file for _, file, _ in links(index)}
        pages_of_docs = set((SOURCES / "docs").glob("*.md")) - {index}
        self.assertEqual(sorted(map(name_of, pages_of_docs - linked)), [])

    def test_each_is_reached_from_the_first(self):
        reached, waiting = set(), [SOURCES / "README.md"]
        while waiting:
            page = waiting.pop()
            if page in reached:
                continue
            reached.add(page)
            for _, file, _ in links(page):
                file = file / "README.md" if file.is_dir() else file
                if file.suffix == ".md" and file.exists():
                    waiting.append(file)
        self.assertEqual(sorted(map(name_of, set(pages()) - reached)), [])


class Alerts(unittest.TestCase):
    RULES = (SOURCES / "packaging" / "prometheus" / "portpool.rules.yml").read_text()
    NAMES = sorted(re.findall(r"^ *- alert: *(\w+)$", RULES, re.M))
    RUNBOOKS = SOURCES / "docs" / "runbooks.md"

    # Its heading is the anchor that the alert leads to.
    def test_each_has_its_runbook_and_no_other(self):
        sections = re.split(r"^## ", self.RUNBOOKS.read_text(), flags=re.M)[1:]
        self.assertEqual(sorted(section.split("\n", 1)[0] for section in sections), self.NAMES)
        for section in sections:
            for part in ("**What it means.**", "**Look at.**", "**Do.**", "**Ignore it**"):
                self.assertIn(part, section)

    def test_runbook_urls_lead_there(self):
        for alert, url in re.findall(r"- alert: *(\w+)\n(?:(?!- alert:).)*?runbook_url: *\S*?([\w/.-]+#\S+?)\"?\n",
                                     self.RULES, re.S):
            self.assertTrue(url.endswith("docs/runbooks.md#" + alert.lower()), f"{alert}: {url}")

    def test_the_table_of_metrics_has_each_with_its_severity(self):
        rules = re.findall(r"- alert: *(\w+)\n.*?severity: *(\w+)", self.RULES, re.S)
        table = (SOURCES / "docs" / "metrics.md").read_text()
        rows = re.findall(r"^\| `(Portpool\w+)` \|.*\| (\w+) \|$", table, re.M)
        self.assertEqual(sorted(rows), sorted(rules))


class Checks(unittest.TestCase):
    def test_the_page_of_the_doctor_has_each(self):
        table = (SOURCES / "poold" / "doctor" / "checks.h").read_text()
        checks = re.findall(r'^    \{"([a-z-]+)", check_', table, re.M)
        page = (SOURCES / "docs" / "doctor.md").read_text()
        rows = re.findall(r"^\| `([a-z-]+)` \|.*\|.*\|.*\|$", page, re.M)
        self.assertGreater(len(checks), 0)
        self.assertEqual(sorted(rows), sorted(checks))


class Commands(unittest.TestCase):
    # As they stand in code, on one line: "poold status --since 30m", before " -- " and a comment.
    def test_have_the_options_that_pages_name(self):
        def help_of(words):
            return subprocess.run([POOLD, *words, "--help"], capture_output=True, text=True).stdout

        commands = re.findall(r"^  ([a-z-]+)  ", help_of([]), re.M)
        options = {command: set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", help_of([command])))
                   for command in commands}
        self.assertIn("--since", options["status"])
        wrong = []
        for page in pages():
            for line in page.read_text().split("\n"):
                code = [line] if line.startswith("    ") else re.findall(r"`([^`]+)`", line)
                for part in code:
                    for command, rest in re.findall(r"\bpoold ([a-z-]+)((?: [^|;&#]*)?)", part):
                        if command not in commands:
                            continue
                        named = re.findall(r"(?<!\S)--[a-z][a-z-]*", re.split(r" -- ", rest)[0])
                        wrong += [f"{name_of(page)}: poold {command} {option}"
                                  for option in named if option not in options[command]]
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
