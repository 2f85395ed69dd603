#!/bin/sh
# What may enter the dependency tree: cargo-deny's bans, licences and sources (deny.toml), and the
# advisories of RustSec by cargo-deny and cargo-audit. Both are installed where they are missing.
#
# The advisories are a git repository. RABTRACE_ADVISORY_DB names a clone of it where it cannot be
# fetched; without either the rest is checked, and this fails and says so.
set -eu
cargo=${CARGO:-cargo}
url=https://github.com/rustsec/advisory-db

need() {
    command -v "$1" >/dev/null 2>&1 || [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/$1" ] && return
    echo "installing $1 $2" >&2
    $cargo install --quiet --locked "$1@$2"
}

need cargo-deny 0.20.2
need cargo-audit 0.22.2
$cargo deny --all-features check bans licenses sources
database=${RABTRACE_ADVISORY_DB:-}
if [ -n "$database" ]; then
    if [ ! -d "$database/crates" ]; then
        echo "error: RABTRACE_ADVISORY_DB=$database is no clone of $url: it has no folder crates" >&2
        exit 1
    fi
    echo "advisories of $(git -C "$database" log -1 --format=%cs), not fetched" >&2
    $cargo audit --db "$database" --no-fetch --stale --deny warnings
    exit
fi
if ! $cargo deny fetch db; then
    cat >&2 <<END
error: the advisories cannot be had, so nothing is known of open ones; the rest was checked
  tried  $url
  fix    clone it where there is a network, and name it: RABTRACE_ADVISORY_DB=/path/to/advisory-db make audit
END
    exit 1
fi
$cargo deny --all-features check advisories
$cargo audit --deny warnings
