#!/usr/bin/env python3
"""Renders chat templates with Jinja2 and the settings of transformers, for ChatTemplateCasesTests.

    python3 render.py FOLDER

FOLDER holds *.jinja. Every template is rendered for every conversation in conversations.json next to this file, or in FOLDER if it has its own, and
FOLDER/rendered.json is written: the text, or null if Jinja2 refuses. Needs Jinja2 3.1. To check published templates, copy them into a folder, run
this, and set HYBRID_CHAT_TEMPLATES to the folder when the tests run.
"""
import json
import os
import sys
from datetime import datetime

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime(2024, 7, 26, 9, 5, 3)


class Generation(Extension):
    """A block that marks what the assistant wrote; its text is unchanged."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

    def _text(self, caller):
        return caller()


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = lambda form: NOW.strftime(form)
    return env


def main(folder):
    own = os.path.join(folder, "conversations.json")
    source = own if os.path.exists(own) else os.path.join(os.path.dirname(os.path.abspath(__file__)), "conversations.json")
    conversations = json.load(open(source, encoding="utf-8"))
    rendered = {}
    for name in sorted(entry for entry in os.listdir(folder) if entry.endswith(".jinja")):
        template = environment().from_string(open(os.path.join(folder, name), encoding="utf-8", newline="").read())
        for label, variables in conversations.items():
            try:
                text = template.render(**variables)
            except (jinja2.exceptions.TemplateError, TypeError, ValueError, IndexError, KeyError, AttributeError):
                text = None
            rendered.setdefault(name, {})[label] = text
    result = dict(reference="Jinja2 " + jinja2.__version__, now=NOW.isoformat(), conversations=conversations, rendered=rendered)
    with open(os.path.join(folder, "rendered.json"), "w", encoding="utf-8") as file:
        file.write(json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    texts = [text for each in rendered.values() for text in each.values()]
    print(f"{len(rendered)} templates, {len(texts)} renderings, {sum(text is None for text in texts)} refused")


if __name__ == "__main__":
    main(sys.argv[1])
