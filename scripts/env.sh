# Sourced by the other scripts: one target directory outside the clone, so that the next clone reuses what was compiled.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/longshore/target}"
[ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] && PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
export PATH
host=$(rustc -vV | sed -n 's/^host: //p')
export LONGSHORE_BIN="$CARGO_TARGET_DIR/$host/release/longshore"
