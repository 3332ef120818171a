//! Task-level CPU and memory: what may be written, and which sizes Fargate has.

/// Fewest CPU units of a task on a container instance (guide chapter 5, "Task size").
const MIN_TASK_CPU: u32 = 128;
/// Most CPU units of a task on a container instance: 192 vCPU.
const MAX_TASK_CPU: u32 = 196_608;
/// Most CPU units that agents without `ecs.capability.increased-task-cpu-limit` accept.
pub(crate) const MAX_CLASSIC_TASK_CPU: u32 = 10_240;

/// CPU units in `text`: `1024`, `1 vCPU`, `.25vcpu`. `None` when it is neither, or no whole number of units.
#[must_use]
pub fn parse_cpu(text: &str) -> Option<u32> {
    parse_scaled(text, "vcpu")
}

/// MiB in `text`: `512`, `1GB`, `0.5 gb`. `None` when it is neither, or no whole number of MiB.
#[must_use]
pub fn parse_memory(text: &str) -> Option<u32> {
    parse_scaled(text, "gb")
}

/// A whole number, or a decimal one in `unit` of which each is 1024.
fn parse_scaled(text: &str, unit: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_suffix(unit) {
        Some(number) => decimal_times_1024(number.trim_end()),
        None => whole(&text),
    }
}

fn whole(digits: &str) -> Option<u32> {
    let only_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    only_digits.then(|| digits.parse().ok()).flatten()
}

/// Exact: a decimal fraction of 1024 either is a whole number or is refused.
fn decimal_times_1024(number: &str) -> Option<u32> {
    let (whole_part, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole_part.is_empty() && fraction.is_empty()) || fraction.len() > 9 {
        return None;
    }
    let units = if whole_part.is_empty() { 0 } else { u64::from(whole(whole_part)?) };
    let parts = if fraction.is_empty() { 0 } else { u64::from(whole(fraction)?) };
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let scaled = parts * 1024;
    (scaled % scale == 0).then(|| u32::try_from(units * 1024 + scaled / scale).ok()).flatten()
}

/// Whether a task on a container instance may have `cpu` units.
#[must_use]
pub(crate) fn is_task_cpu(cpu: u32) -> bool {
    (MIN_TASK_CPU..=MAX_TASK_CPU).contains(&cpu)
}

/// Whether Fargate has tasks of this size: `cpu` in units, `memory` in MiB.
///
/// The five sizes of guide chapter 5 and the two larger ones that ECS has had since.
#[must_use]
pub fn is_fargate_size(cpu: u32, memory: u32) -> bool {
    let stepped = |least: u32, most: u32, step: u32| (least..=most).contains(&memory) && memory.is_multiple_of(step);
    match cpu {
        256 => matches!(memory, 512 | 1024 | 2048),
        512 => stepped(1024, 4096, 1024),
        1024 => stepped(2048, 8192, 1024),
        2048 => stepped(4096, 16_384, 1024),
        4096 => stepped(8192, 30_720, 1024),
        8192 => stepped(16_384, 61_440, 4096),
        16_384 => stepped(32_768, 122_880, 8192),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: 05-153, 22-034
    #[test]
    fn cpu_is_units_or_vcpu() {
        for (text, units) in [
            ("1024", Some(1024)),
            ("0256", Some(256)),
            (" 512 ", Some(512)),
            ("1 vCPU", Some(1024)),
            ("1vcpu", Some(1024)),
            (".25 vCPU", Some(256)),
            ("0.5 VCPU", Some(512)),
            ("2. vCPU", Some(2048)),
            ("0.125 vCPU", Some(128)),
            ("0.1 vCPU", None),
            ("", None),
            (".", None),
            (". vCPU", None),
            ("vCPU", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1 GB", None),
            ("99999999999", None),
            ("4194304 vCPU", None),
        ] {
            assert_eq!(parse_cpu(text), units, "{text:?}");
        }
    }

    // spec: 05-161, 24-030
    #[test]
    fn memory_is_mib_or_gb() {
        for (text, mib) in [
            ("512", Some(512)),
            ("1GB", Some(1024)),
            ("1 GB", Some(1024)),
            ("0.5gb", Some(512)),
            ("1.5 GB", Some(1536)),
            ("1 MB", None),
            ("1.0001 GB", None),
            ("GB", None),
            ("1..5GB", None),
        ] {
            assert_eq!(parse_memory(text), mib, "{text:?}");
        }
    }

    // spec: 05-155, 05-156, 05-157, 05-158, 05-159
    #[test]
    fn fargate_has_exactly_its_sizes() {
        let sizes = |cpu| (0..=131_072).filter(|memory| is_fargate_size(cpu, *memory)).collect::<Vec<_>>();
        let steps = |least: u32, most: u32, step: usize| (least..=most).step_by(step).collect::<Vec<_>>();
        assert_eq!(sizes(256), [512, 1024, 2048]);
        assert_eq!(sizes(512), steps(1024, 4096, 1024));
        assert_eq!(sizes(1024), steps(2048, 8192, 1024));
        assert_eq!(sizes(2048), steps(4096, 16_384, 1024));
        assert_eq!(sizes(4096), steps(8192, 30_720, 1024));
        assert_eq!(sizes(8192), steps(16_384, 61_440, 4096));
        assert_eq!(sizes(16_384), steps(32_768, 122_880, 8192));
        assert!(sizes(128).is_empty() && sizes(300).is_empty() && sizes(32_768).is_empty());
    }
}
