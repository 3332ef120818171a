//! Tasks: their life, and what a task definition and its overrides come to.

mod lifecycle;
mod overrides;
mod report;
mod reservation;

pub use lifecycle::{StopCause, delivered, deprovisioning, has_crashed, has_failed, health, is_checked, lost, stop};
pub use overrides::{effective_containers, unknown_container};
pub use report::{ContainerReport, TaskReport, report};
pub use reservation::{cpu_units, memory_mib, reservation};
