//! Medians and their spread, the targets, the tables, the files.

use std::path::Path;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::{Value, json};

use crate::contestant::Contestant;
use crate::functions::Figures;
use crate::work::{Sample, Store, Work};

/// One line of `report.json`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// What was done.
    pub work: String,
    /// Of what: `us CPU a record`, ...
    pub unit: String,
    /// `lambda-queue`.
    pub ours: Option<f64>,
    /// Powertools for AWS Lambda (Python).
    pub powertools_python: Option<f64>,
    /// Powertools for AWS Lambda (TypeScript).
    pub powertools_typescript: Option<f64>,
    /// A bare handler.
    pub floor: Option<f64>,
}

impl Row {
    /// A row of medians; `None` where a contestant has no samples.
    pub fn of(work: String, unit: String, value: impl Fn(Contestant) -> Vec<f64>) -> Self {
        let of = |contestant| {
            let values = value(contestant);
            (!values.is_empty()).then(|| round(median(&values)))
        };
        Self {
            work,
            unit,
            ours: of(Contestant::Ours),
            powertools_python: of(Contestant::PowertoolsPython),
            powertools_typescript: of(Contestant::PowertoolsTypescript),
            floor: of(Contestant::Floor),
        }
    }

    fn figures(&self) -> [Option<f64>; 4] {
        [self.ours, self.powertools_python, self.powertools_typescript, self.floor]
    }
}

/// A bound that the library is held to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Target {
    /// In words.
    pub target: String,
    /// What was measured.
    pub measured: f64,
    /// The most that it may be.
    pub at_most: f64,
    /// Whether it is.
    pub met: bool,
}

/// The middle value; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) }
}

/// The distance of the least from the most, by the median, in per cent: how much a figure may be believed.
pub fn spread_percent(values: &[f64]) -> f64 {
    let middle = median(values);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.is_empty() || middle == 0.0 { 0.0 } else { (most - least) / middle * 100.0 }
}

/// Three significant digits: more would only be noise.
fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// All that one run measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Of the contestants.
    pub samples: Vec<Sample>,
    /// Memory at the first poll, bytes.
    pub memory: Vec<(Contestant, u64)>,
    /// Of the order system's functions.
    pub functions: Vec<Figures>,
}

impl Measured {
    fn values(&self, work: Work, contestant: Contestant, of: fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().filter(|sample| sample.work == work && sample.contestant == contestant).map(of).collect()
    }

    /// The works that were measured, in their order.
    fn works(&self) -> Vec<Work> {
        let mut works = Vec::new();
        for sample in &self.samples {
            if !works.contains(&sample.work) {
                works.push(sample.work);
            }
        }
        works
    }

    /// The rows of the report: CPU before wall.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for work in self.works() {
            let (scale, unit) = match work {
                Work::Invocation | Work::SameRequests | Work::Start => (1e-3, "ms"),
                Work::Batch(_) | Work::First(_) | Work::Replay(_) | Work::Emf | Work::Log => (1.0, "us"),
            };
            let row = |kind: &str, of: fn(&Sample) -> f64| {
                Row::of(work.name(), format!("{unit} {kind} a {}", work.unit()), |contestant| {
                    self.values(work, contestant, of).into_iter().map(|value| value * scale).collect()
                })
            };
            rows.push(row("CPU", |sample| sample.cpu_us));
            if matches!(work, Work::Invocation | Work::SameRequests | Work::Start) {
                rows.push(row("wall", |sample| sample.wall_us));
            }
        }
        if !self.memory.is_empty() {
            rows.push(Row::of("memory at the first poll".to_owned(), "MB".to_owned(), |contestant| {
                let of = self.memory.iter().filter(|(whose, _)| *whose == contestant);
                of.map(|(_, bytes)| *bytes as f64 / 1e6).collect()
            }));
        }
        rows
    }

    /// The bounds, each with what was measured.
    pub fn targets(&self) -> Vec<Target> {
        let cpu = |work, contestant| median(&self.values(work, contestant, |sample| sample.cpu_us));
        let ours = |work| cpu(work, Contestant::Ours);
        let mut targets = Vec::new();
        let bounds = [
            (Work::Batch(10), 1.0, "us CPU a record"),
            (Work::Batch(10_000), 1.0, "us CPU a record"),
            (Work::First(Store::Memory), 5.0, "us CPU a call"),
            (Work::Replay(Store::Memory), 5.0, "us CPU a call"),
            (Work::Emf, 2.0, "us CPU a flush"),
        ];
        for (work, at_most, unit) in bounds {
            let measured = ours(work);
            let target = format!("{}: at most {at_most} {unit}", work.name());
            targets.push(Target { target, measured: round(measured), at_most, met: measured <= at_most });
        }
        let ratio = ours(Work::Invocation) / cpu(Work::Invocation, Contestant::Floor);
        let same = ours(Work::SameRequests) / cpu(Work::SameRequests, Contestant::Floor);
        for (floor, ratio) in [("with its own, smallest, requests", ratio), ("with our very requests", same)] {
            targets.push(Target {
                target: format!("warm invocation: CPU at most 1.2 x the bare handler {floor}"),
                measured: round(ratio),
                at_most: 1.2,
                met: ratio <= 1.2,
            });
        }
        targets
    }

    /// Writes `report.json`, `functions.json` and `details.json` (targets, every sample, the machine).
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write(&self, out: &Path, machine: &Value) -> anyhow::Result<()> {
        save(out, "report.json", &self.rows())?;
        save(out, "functions.json", &self.functions)?;
        let mut samples = Vec::new();
        for work in self.works() {
            for contestant in Contestant::ALL {
                let cpu = self.values(work, contestant, |sample| sample.cpu_us);
                let wall = self.values(work, contestant, |sample| sample.wall_us);
                if !cpu.is_empty() {
                    samples.push(json!({
                        "work": work.name(),
                        "unit": work.unit(),
                        "contestant": contestant,
                        "cpu_spread_percent": round(spread_percent(&cpu)),
                        "wall_spread_percent": round(spread_percent(&wall)),
                        "cpu_us": cpu.into_iter().map(round).collect::<Vec<_>>(),
                        "wall_us": wall.into_iter().map(round).collect::<Vec<_>>(),
                    }));
                }
            }
        }
        let details = json!({ "machine": machine, "targets": self.targets(), "samples": samples });
        save(out, "details.json", &details)
    }

    /// The tables, for a terminal. A figure's spread stands behind it.
    pub fn tables(&self) -> String {
        let mut table = new_table(["work", "unit", "ours", "Powertools Python", "Powertools TypeScript", "floor"]);
        for row in self.rows() {
            let mut cells = vec![row.work.clone(), row.unit.clone()];
            let figures = row.figures().into_iter().zip(Contestant::ALL);
            cells.extend(figures.map(|(figure, contestant)| {
                figure.map_or_else(|| "-".to_owned(), |figure| self.with_spread(&row, contestant, figure))
            }));
            table.add_row(cells);
        }
        align(&mut table, 2);
        let mut targets = new_table(["target", "measured", ""]);
        for target in self.targets() {
            let met = if target.met { "met" } else { "NOT MET" };
            targets.add_row([target.target.clone(), number(target.measured), met.to_owned()]);
        }
        align(&mut targets, 1);
        let mut text = format!("{table}\n\n{targets}\n");
        if !self.functions.is_empty() {
            let head =
                ["function", "binary, MB", "first poll, ms", "least to most, ms", "CPU by then, ms", "memory, MB"];
            let mut functions = new_table(head);
            for figures in &self.functions {
                let [least, most] = figures.first_poll_range_ms;
                functions.add_row([
                    figures.function.clone(),
                    format!("{:.2}", figures.binary_bytes as f64 / 1e6),
                    format!("{:.1}", figures.first_poll_ms),
                    format!("{least:.1} to {most:.1}"),
                    format!("{:.1}", figures.cpu_ms),
                    format!("{:.1}", figures.memory_mb),
                ]);
            }
            align(&mut functions, 1);
            text += &format!("\n{functions}\n");
        }
        text
    }

    fn with_spread(&self, row: &Row, contestant: Contestant, figure: f64) -> String {
        let of: fn(&Sample) -> f64 =
            if row.unit.contains(" wall ") { |sample| sample.wall_us } else { |sample| sample.cpu_us };
        let work = self.works().into_iter().find(|work| work.name() == row.work);
        let values = work.map(|work| self.values(work, contestant, of)).unwrap_or_default();
        if values.is_empty() {
            number(figure)
        } else {
            format!("{} ±{:.0}%", number(figure), spread_percent(&values) / 2.0)
        }
    }
}

fn save(out: &Path, name: &str, what: &impl Serialize) -> anyhow::Result<()> {
    let path = out.join(name);
    let text = serde_json::to_string_pretty(what)? + "\n";
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value}") }
}

fn new_table<const COLUMNS: usize>(head: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(head);
    table
}

fn align(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_middles() {
        for (values, wanted) in
            [(vec![], 0.0), (vec![3.0], 3.0), (vec![9.0, 1.0, 5.0], 5.0), (vec![4.0, 1.0, 2.0, 8.0], 3.0)]
        {
            assert!((median(&values) - wanted).abs() < 1e-9, "{values:?}");
        }
    }

    #[test]
    fn a_spread_is_the_range_by_the_median() {
        assert!((spread_percent(&[9.0, 10.0, 12.0]) - 30.0).abs() < 1e-9);
        assert!(spread_percent(&[]).abs() < 1e-9);
    }

    #[test]
    fn figures_keep_three_digits() {
        for (value, wanted) in [(0.0, 0.0), (0.123_45, 0.123), (1.239, 1.24), (987.6, 988.0), (12_345.0, 12_300.0)] {
            assert!((round(value) - wanted).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn who_has_no_samples_has_no_figure() {
        let sample = Sample { work: Work::Emf, contestant: Contestant::Ours, cpu_us: 1.5, wall_us: 2.0 };
        let rows = Measured { samples: vec![sample], ..Measured::default() }.rows();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].ours, rows[0].floor), (Some(1.5), None));
        assert_eq!(rows[0].unit, "us CPU a flush");
    }
}
