# Sourced by the other scripts: one target directory outside the clone, so that the next clone reuses what was compiled.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/longshore/target}"
[ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] && PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
export PATH
host=$(rustc -vV | sed -n 's/^host: //p')
export LONGSHORE_BIN="$CARGO_TARGET_DIR/$host/release/longshore"

# Clones share the target directory, and cargo goes by times: what another clone compiled after this one was checked out
# would pass as this one's. So a change of clone makes this one's own sources new.
if [ -d "$CARGO_TARGET_DIR" ] && [ "$(cat "$CARGO_TARGET_DIR/.clone" 2>/dev/null)" != "$PWD" ]; then
    find crates xtask -type f -exec touch {} +
fi
mkdir -p "$CARGO_TARGET_DIR"
printf '%s\n' "$PWD" >"$CARGO_TARGET_DIR/.clone"
