"""Rust source without its comments and without what stands in its literals.

A word in a comment, a doc test or a string is not code: a gate that looks for
`unsafe` must not trip over a sentence about it, nor be fooled by a quote.
"""

import re

# Tried in this order at each place. Nested block comments and raw strings,
# whose end depends on their start, are handled in `end_of`.
_START = re.compile(
    r"""
    (?P<line>//)
  | (?P<block>/\*)
  | (?P<raw>\b(?:b|c)?r(?P<hashes>\#*)")
  | (?P<string>(?:\b[bc])?")
  | (?P<char>(?:\bb)?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^\\'\n])')
    """,
    re.X,
)


def _end_of(source, match):
    """The index behind the comment or literal that starts with `match`."""
    if match["line"]:
        end = source.find("\n", match.end())
    elif match["raw"]:
        closing = '"' + match["hashes"]
        end = source.find(closing, match.end())
        end = end if end < 0 else end + len(closing)
    elif match["string"]:
        close = re.compile(r'(?:[^"\\]|\\.)*"', re.S).match(source, match.end())
        end = close.end() if close else -1
    elif match["block"]:
        depth, end = 1, match.end()
        while depth:
            mark = re.compile(r"/\*|\*/").search(source, end)
            if not mark:
                return len(source)
            depth += 1 if mark[0] == "/*" else -1
            end = mark.end()
    else:
        end = match.end()
    return len(source) if end < 0 else end


def code_of(source):
    """`source` with each comment and literal replaced by its line ends."""
    parts, at = [], 0
    while match := _START.search(source, at):
        end = _end_of(source, match)
        parts += [source[at : match.start()], " ", "\n" * source.count("\n", match.start(), end)]
        at = end
    return "".join(parts) + source[at:]
