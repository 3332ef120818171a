//! The embedded runtime with real containers. Needs root and busybox; says so and passes without them.

mod images;
mod latency;
mod life;
mod sandbox;
mod survival;
mod world;
