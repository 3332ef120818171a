//! The commands that talk to an API, one file per resource.

pub mod admin;
pub mod api;
pub mod events;
pub mod explain;
pub mod fargate;
pub mod host;
pub mod image;
pub mod logs;
pub mod run;
pub mod tasks;
pub mod times;
