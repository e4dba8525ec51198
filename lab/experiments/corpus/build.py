#!/usr/bin/env python3
"""Builds the text corpus of the experiments from documentation packages of Debian. Needs Python 3, apt-get and dpkg-deb.

  build.py lock NAMES...        looks up the newest versions and adds them to packages.tsv (only to change the list)
  build.py fetch FOLDER         downloads the packages of packages.tsv to FOLDER/packages and checks their hashes
  build.py text FOLDER          writes FOLDER/training/*.jsonl, FOLDER/held-out/*.jsonl (one document per line) and FOLDER/corpus.json
  build.py check FOLDER         compares FOLDER/corpus.json with the committed corpus.json
  build.py sample FOLDER TARGET writes every second part of the training text, and every fourth of the held-out text, to TARGET; a part is a
                                document, or up to 100,000 characters of a longer one

The text depends only on the packages and on this file. Packages are read in the order of packages.tsv, training packages first.
"""
import collections, gzip, hashlib, html, json, multiprocessing, os, re, subprocess, sys, tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
MAX_PACKAGE = 16_000_000                # characters of one package, so that no project dominates
MIN_DOCUMENT, MIN_ENGLISH = 400, 0.06   # characters; share of common English words
LONG_PARAGRAPH, SHORT_REPEATS = 40, 8   # letters of a paragraph that may occur once; how often a shorter one may occur
SAMPLE_PART = 100_000                   # characters of a part of the sample
MIN_KEPT = 0.3                          # share of a document that must be new

SKIPPED_PATH = re.compile(r"""
    /(_sources|_modules|search|class-use|index-files|images?|src)/ | [-_]source\.html | /(genindex|search|py-modindex|modindex|allclasses
    |package-tree|package-use|overview-tree|constant-values|serialized-form|deprecated-list|index-all|help-doc|functions|globals|namespacemembers
    |classes|hierarchy|inherits|graph_legend|files|annotated|dir_|doc-index|changelog|NEWS|copyright|sitemap|navtree)[^/]*$
    | -members\.html$ | [._/](ar|ca|cs|da|de|el|es|fa|fi|fr|he|hr|hu|id|it|ja|ko|lt|nb|nl|nn|pl|pt|ro|ru|sk|sl|sr|sv|tr|uk|vi|zh)([_-]\w+)?[./]""",
    re.VERBOSE)
COMMON = frozenset("the of to and a in is for that with be as are by or this on it from not".split())
BLANKS, WORD, TAG = re.compile(r"[ \t\r\f\v\xa0]+"), re.compile(r"[a-z]+"), re.compile(r"<[^>]*>")
HIDDEN = re.compile(r"<!--.*?-->|<(script|style|head|nav|footer|svg|form|select|noscript)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
VERBATIM = re.compile(r"<(pre)\b[^>]*>(.*?)</\1\s*>", re.DOTALL | re.IGNORECASE)
BREAK = re.compile(r"</?(p|div|h[1-6]|ul|ol|dl|table|section|article|blockquote|hr|dt|title|note|steps|page)\b[^>]*>", re.IGNORECASE)
LINE = re.compile(r"</?(br|li|tr|dd|item)\b[^>]*>", re.IGNORECASE)
CELL = re.compile(r"</?(td|th)\b[^>]*>", re.IGNORECASE)
LOWER = bytes(range(256)).lower()
NOT_LETTERS = bytes(code for code in range(256) if not chr(code).isascii() or not chr(code).isalpha())
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffd\u200b\u00b6]")


def packages():
    with open(os.path.join(HERE, "packages.tsv"), encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if line.strip() and not line.startswith("#")]
    return [dict(zip(("name", "version", "architecture", "sha256", "split", "licence"), row)) for row in rows]


def deb_name(package):
    return f"{package['name']}_{package['version'].replace(':', '%3a')}_{package['architecture']}.deb"


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock(names):
    for name in names:
        record = subprocess.run(["apt-cache", "show", "--no-all-versions", name], capture_output=True, text=True, check=True).stdout
        field = dict(re.findall(r"^(Package|Version|Architecture|SHA256): (.*)$", record, re.MULTILINE))
        print("\t".join((field["Package"], field["Version"], field["Architecture"], field["SHA256"], "training", "")))


def fetch(folder):
    target = os.path.join(folder, "packages")
    os.makedirs(target, exist_ok=True)
    missing = []
    for package in packages():
        path = os.path.join(target, deb_name(package))
        if not os.path.exists(path):
            subprocess.run(["apt-get", "download", f"{package['name']}={package['version']}"], cwd=target)
        if not os.path.exists(path):
            missing.append(f"{package['name']} {package['version']}")
        elif sha256(path) != package["sha256"]:
            sys.exit(f"{path}: SHA-256 is {sha256(path)}; expected {package['sha256']}.")
    if missing:
        sys.exit("The configured package sources no longer have: " + ", ".join(missing)
            + ". Add a dated snapshot of the archive to the sources of apt, and run this command again.")


def clean(text):
    text = CONTROL.sub("", BLANKS.sub(" ", text))
    return "\n\n".join(part for part in (re.sub(r" ?\n ?", "\n", part).strip() for part in re.split(r"\n\s*\n", text)) if part)


def flowing(markup):
    markup = re.sub(r"\s+", " ", markup)
    return html.unescape(TAG.sub("", CELL.sub(" ", LINE.sub("\n", BREAK.sub("\n\n", markup)))))


def from_html(markup):
    markup = HIDDEN.sub(" ", markup)
    parts, end = [], 0
    for match in VERBATIM.finditer(markup):
        code = "\n".join(line.rstrip() for line in html.unescape(TAG.sub("", match[2])).strip("\n").split("\n"))
        # a blank line inside code would divide it into paragraphs
        parts += [clean(flowing(markup[end:match.start()])), CONTROL.sub("", re.sub(r"\n\s*\n", "\n", code))]
        end = match.end()
    parts.append(clean(flowing(markup[end:])))
    return "\n\n".join(part for part in parts if part.strip())


def from_plain(text):
    text = re.sub(r".\x08", "", text.replace("\r\n", "\n"))
    parts = ("\n".join(line.rstrip() for line in part.strip("\n").split("\n")) for part in re.split(r"\n[ \t]*\n", text))
    return "\n\n".join(CONTROL.sub("", part.expandtabs(4)) for part in parts if part.strip())


def kind(path):
    name = path.lower().removesuffix(".gz").removesuffix(".dz")
    if name.endswith((".html", ".htm", ".xhtml", ".page")): return from_html
    if name.endswith((".txt", ".text", ".info", ".md", ".adoc", ".dict", ".pod")): return from_plain
    return None


def is_english(text):
    words = WORD.findall(text[:20_000].lower())
    return len(words) >= 50 and sum(word in COMMON for word in words) >= MIN_ENGLISH * len(words)


def documents(job):
    """Returns the texts of a package by path: English, at least MIN_DOCUMENT characters, in an order that mixes its parts."""
    package, folder = job
    found = {}
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", os.path.join(folder, "packages", deb_name(package))], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                convert = kind(member.name)
                if not member.isfile() or convert is None or SKIPPED_PATH.search(member.name) or member.size > 40_000_000: continue
                content = archive.extractfile(member).read()
                if member.name.endswith((".gz", ".dz")): content = gzip.decompress(content)
                try: raw = content.decode("utf-8")
                except UnicodeDecodeError: raw = content.decode("latin-1")
                text = convert(raw)
                if len(text) >= MIN_DOCUMENT and is_english(text): found[member.name] = text
    order = sorted(found, key=lambda path: hashlib.sha256(path.encode()).digest())
    return package, [(path, found[path]) for path in order]


def key(paragraph):
    return paragraph.encode("ascii", "ignore").translate(LOWER, NOT_LETTERS)


class Novelty:
    """Drops paragraphs that differ from an earlier one at most in case, numbers, blanks and punctuation."""

    def __init__(self):
        self.seen, self.short = set(), collections.Counter()

    def reduce(self, text):
        kept, added = [], []
        for paragraph in text.split("\n\n"):
            letters = key(paragraph)
            mark = hashlib.blake2b(letters, digest_size=8).digest()
            if not letters: continue
            if len(letters) < LONG_PARAGRAPH:
                if self.short[mark] < SHORT_REPEATS: kept.append(paragraph)
                self.short[mark] += 1
            elif mark not in self.seen:
                self.seen.add(mark)
                kept.append(paragraph)
        result = "\n\n".join(kept)
        return result if len(result) >= max(MIN_DOCUMENT, MIN_KEPT * len(text)) else None


def text(folder):
    rows = sorted(packages(), key=lambda package: package["split"] != "training")
    novelty, report = Novelty(), []
    with multiprocessing.Pool() as pool:
        for package, found in pool.imap(documents, [(row, folder) for row in rows]):
            target = os.path.join(folder, package["split"])
            os.makedirs(target, exist_ok=True)
            path, kept, characters, before = os.path.join(target, package["name"] + ".jsonl"), 0, 0, sum(len(text) for _, text in found)
            with open(path, "w", encoding="utf-8", newline="\n") as file:
                for name, document in found:
                    reduced = novelty.reduce(document)
                    if reduced is None: continue
                    is_last = characters + len(reduced) > MAX_PACKAGE
                    if is_last: reduced = reduced[:MAX_PACKAGE - characters].rpartition("\n\n")[0]
                    if is_last and not reduced: break
                    file.write(json.dumps({"path": name.removeprefix("./"), "text": reduced}, ensure_ascii=False) + "\n")
                    kept, characters = kept + 1, characters + len(reduced)
                    if is_last: break
            report.append({"package": package["name"], "split": package["split"], "documents": kept, "characters": characters,
                "charactersBefore": before, "sha256": sha256(path)})
            print(f"{package['name']}: {kept} documents, {characters / 1e6:.2f} of {before / 1e6:.2f} million characters", flush=True)
    totals = {split: {"packages": len(part), "documents": sum(row["documents"] for row in part), "characters": sum(row["characters"] for row in part)}
        for split in ("training", "held-out") for part in [[row for row in report if row["split"] == split]]}
    with open(os.path.join(folder, "corpus.json"), "w", encoding="utf-8") as file:
        json.dump({"totals": totals, "packages": report}, file, indent=1)
        file.write("\n")
    print(json.dumps(totals))


def check(folder):
    with open(os.path.join(folder, "corpus.json"), encoding="utf-8") as new, open(os.path.join(HERE, "corpus.json"), encoding="utf-8") as old:
        made, wanted = ({row["package"]: row for row in json.load(file)["packages"]} for file in (new, old))
    different = sorted(name for name in made.keys() | wanted.keys() if made.get(name) != wanted.get(name))
    sys.exit(f"Different from the committed corpus: {', '.join(different)}." if different else 0)


def parts(document):
    start = 0
    while start < len(document):
        end = len(document) if len(document) - start <= SAMPLE_PART else document.rfind("\n\n", start, start + SAMPLE_PART)
        if end <= start: end = min(len(document), start + SAMPLE_PART)
        yield document[start:end].strip("\n")
        start = end


def sample(folder, target):
    for split, every in (("training", 2), ("held-out", 4)):
        os.makedirs(os.path.join(target, split), exist_ok=True)
        index = 0
        for name in sorted(os.listdir(os.path.join(folder, split))):
            with open(os.path.join(folder, split, name), encoding="utf-8") as source, \
                    open(os.path.join(target, split, name), "w", encoding="utf-8", newline="\n") as file:
                for line in source:
                    for part in parts(json.loads(line)["text"]):
                        if index % every == 0: file.write(json.dumps({"text": part}, ensure_ascii=False) + "\n")
                        index += 1


if __name__ == "__main__":
    commands = {"fetch": fetch, "text": text, "check": check}
    if len(sys.argv) >= 3 and sys.argv[1] == "lock": lock(sys.argv[2:])
    elif len(sys.argv) == 4 and sys.argv[1] == "sample": sample(sys.argv[2], sys.argv[3])
    elif len(sys.argv) == 3 and sys.argv[1] in commands: commands[sys.argv[1]](sys.argv[2])
    else: sys.exit(__doc__)
