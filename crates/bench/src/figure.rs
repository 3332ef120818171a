//! Figures, what they are held to, and how they are printed.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::json;

/// One measured number.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// Which scenario measured it.
    pub scenario: &'static str,
    /// What it is.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What was measured beside it, in the same run and unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// What it is held to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
}

/// What a figure is compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// What it is.
    pub name: String,
    /// The number.
    pub value: f64,
}

/// A bound. The relative ones compare two things measured in one run, so that a slow or busy
/// machine moves both; the absolute ones hold for a quiet machine with two cores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Floor {
    /// The figure is at most this.
    AtMost(f64),
    /// The figure is at least this.
    AtLeast(f64),
    /// The figure is at most this many times its peer.
    RatioAtMost(f64),
    /// The figure is at least this many times its peer.
    RatioAtLeast(f64),
    /// The figure is at most its peer and this.
    ExcessAtMost(f64),
}

/// Whether a figure keeps its floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It does.
    Pass,
    /// It does not.
    Miss,
    /// It has none.
    Reported,
}

impl Floor {
    /// Whether a machine's speed cancels out.
    #[must_use]
    pub fn is_relative(self) -> bool {
        !matches!(self, Self::AtMost(_) | Self::AtLeast(_))
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtMost(bound) => format!("≤ {} {unit}", number(bound)),
            Self::AtLeast(bound) => format!("≥ {} {unit}", number(bound)),
            Self::RatioAtMost(bound) => format!("≤ {} × peer", number(bound)),
            Self::RatioAtLeast(bound) => format!("≥ {} × peer", number(bound)),
            Self::ExcessAtMost(bound) => format!("≤ peer + {} {unit}", number(bound)),
        }
    }
}

impl Figure {
    /// A figure that is reported only.
    #[must_use]
    pub fn new(scenario: &'static str, name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { scenario, name: name.into(), value, unit, peer: None, floor: None }
    }

    /// The same, held to `floor`.
    #[must_use]
    pub fn held_to(self, floor: Floor) -> Self {
        Self { floor: Some(floor), ..self }
    }

    /// The same, beside `value` of `name`.
    #[must_use]
    pub fn beside(self, name: impl Into<String>, value: f64) -> Self {
        Self { peer: Some(Peer { name: name.into(), value }), ..self }
    }

    /// How many times its peer it is.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|peer| self.value / peer.value)
    }

    /// Whether it keeps its floor. A relative floor without a peer is missed.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let Some(floor) = self.floor else { return Verdict::Reported };
        let keeps = match floor {
            Floor::AtMost(bound) => self.value <= bound,
            Floor::AtLeast(bound) => self.value >= bound,
            Floor::RatioAtMost(bound) => self.ratio().is_some_and(|ratio| ratio <= bound),
            Floor::RatioAtLeast(bound) => self.ratio().is_some_and(|ratio| ratio >= bound),
            Floor::ExcessAtMost(bound) => self.peer.as_ref().is_some_and(|peer| self.value <= peer.value + bound),
        };
        if keeps { Verdict::Pass } else { Verdict::Miss }
    }
}

/// Three significant digits.
fn number(value: f64) -> String {
    let size = value.abs();
    let decimals = if size >= 100.0 || value.fract() == 0.0 {
        0
    } else if size >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

/// The figures as a table for people.
#[must_use]
pub fn table(figures: &[Figure]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["SCENARIO", "FIGURE", "VALUE", "FLOOR", "PEER", "RATIO", ""]);
    for figure in figures {
        let peer = figure.peer.as_ref();
        table.add_row([
            figure.scenario.to_owned(),
            figure.name.clone(),
            format!("{} {}", number(figure.value), figure.unit),
            figure.floor.map(|floor| floor.text(figure.unit)).unwrap_or_default(),
            peer.map(|peer| format!("{} {} ({})", number(peer.value), figure.unit, peer.name)).unwrap_or_default(),
            figure.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            match figure.verdict() {
                Verdict::Pass => "pass",
                Verdict::Miss => "MISS",
                Verdict::Reported => "",
            }
            .to_owned(),
        ]);
    }
    for column in [2, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The figures as one document for programs.
#[must_use]
pub fn document(figures: &[Figure]) -> serde_json::Value {
    let figure = |figure: &Figure| {
        let mut value = json!(figure);
        value["verdict"] = json!(figure.verdict());
        if let Some(ratio) = figure.ratio() {
            value["ratio"] = json!(ratio);
        }
        value
    };
    json!({"figures": figures.iter().map(figure).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_floors_compare_with_the_peer() {
        let figure = Figure::new("s", "n", 30.0, "ms").beside("raw", 100.0);
        let verdict = |floor| figure.clone().held_to(floor).verdict();
        assert_eq!(verdict(Floor::RatioAtMost(0.3)), Verdict::Pass);
        assert_eq!(verdict(Floor::RatioAtMost(0.25)), Verdict::Miss);
        assert_eq!(verdict(Floor::RatioAtLeast(0.25)), Verdict::Pass);
        assert_eq!(verdict(Floor::ExcessAtMost(0.0)), Verdict::Pass);
        assert_eq!(verdict(Floor::AtMost(29.0)), Verdict::Miss);
        assert_eq!(verdict(Floor::AtLeast(30.0)), Verdict::Pass);
        assert_eq!(figure.verdict(), Verdict::Reported);
    }

    #[test]
    fn a_relative_floor_without_a_peer_is_missed() {
        assert_eq!(Figure::new("s", "n", 1.0, "ms").held_to(Floor::ExcessAtMost(9.0)).verdict(), Verdict::Miss);
    }
}
