#!/usr/bin/env bash
# man.sh PAGE.md SECTION >PAGE.SECTION: a man page out of a handbook page.
#
# The handbook pages are written in the order of man pages, so that one text
# serves both: "# name" is the title, each "## Section" a section in capitals,
# "- `option`: text" an entry of a list. Links stay as their words.
set -euo pipefail
page=$1 section=$2
name=$(basename "$page" .md)
root=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
# The day of the newest dated release: the same page from the same source.
day=$(sed -n 's/^## \[[0-9].*\] - \([0-9-]*\)$/\1/p' "$root/CHANGELOG.md" | head -n 1)

awk '
    /^```/ { code = !code }
    code { print; next }
    # An underscore outside of code is itself, never emphasis.
    /_/ {
        count = split($0, part, "`")
        for (i = 1; i <= count; i += 2) gsub(/_/, "\\_", part[i])
        $0 = part[1]
        for (i = 2; i <= count; i++) $0 = $0 "`" part[i]
    }
    /^# / { next }
    /^## / { print "# " toupper(substr($0, 4)); next }
    /^### / { print "## " substr($0, 5); next }
    # "- `term`: text" becomes a definition list, which Markdown viewers lack.
    # A list entry goes on in lines that are indented by two.
    match($0, /^- (`[^`]*`(, )?)+: /) {
        print ""
        print substr($0, 3, RLENGTH - 4) "\n\n: " substr($0, RLENGTH + 1)
        entry = 1
        next
    }
    entry && /^  / { print "  " substr($0, 3); next }
    entry && /^$/ { print; next }
    { entry = 0; print }
' "$page" |
    # Code is bold, as in other man pages. A minus must be written \- (a bare -
    # is a hyphen, which nobody can copy into a shell); a section's title on its
    # macro's line is what mandb(8) reads. Lines are not justified, nor words cut.
    lowdown -s -t man --nroff-nolinks --out-no-smarty \
        --parse-no-metadata --parse-no-super \
        -M "title=$name" -M "section=$section" -M "date=${day:-$version}" \
        -M "source=Kickstage $version" -M "volume=Kickstage handbook" |
    sed -e '/^\.TH /a .nh\n.ad l' -e '/^\.S[HS]$/{N;s/\n/ /;b' -e '}' -e "/^[.']/b" -e 's/\\fC/\\fB/g' -e 's/-/\\-/g' |
    # Tables need their preprocessor, which man(1) is told in the first line.
    { printf '%s\n' "'\\\" t" && cat; }
