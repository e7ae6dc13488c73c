#!/usr/bin/env bash
# Puts the command where a shell finds it, with completions and manual pages made by the command itself.
set -euo pipefail
program=$1 prefix=$2

install -d "$prefix/bin" "$prefix/share/bash-completion/completions" "$prefix/share/zsh/site-functions" \
    "$prefix/share/fish/vendor_completions.d" "$prefix/share/man/man1"
install -m 755 "$program" "$prefix/bin/floodmark"
"$program" completions bash > "$prefix/share/bash-completion/completions/floodmark"
"$program" completions zsh > "$prefix/share/zsh/site-functions/_floodmark"
"$program" completions fish > "$prefix/share/fish/vendor_completions.d/floodmark.fish"
"$program" man --directory "$prefix/share/man/man1"
echo "installed $prefix/bin/floodmark"
