//! Line charts as SVG: axes, grid, lines, a legend. Small, because what is plotted here needs no more, and text, so that
//! a change of a curve shows in a diff.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;
/// Told apart also by those who see few colours (Okabe and Ito).
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555",
];

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; values above zero only.
    Logarithmic,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with the unit.
    pub title: &'static str,
    /// How.
    pub scale: Scale,
    /// Where a line and a number stand, ascending; the first and last bound the axis.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// A linear axis.
    pub fn linear(title: &'static str, ticks: &[f64]) -> Self {
        Self {
            title,
            scale: Scale::Linear,
            ticks: ticks.to_vec(),
        }
    }

    /// A logarithmic axis.
    pub fn logarithmic(title: &'static str, ticks: &[f64]) -> Self {
        Self {
            title,
            scale: Scale::Logarithmic,
            ticks: ticks.to_vec(),
        }
    }

    /// Where a value lies, from 0 to 1; what lies outside is put on the edge.
    fn place(&self, value: f64) -> f64 {
        let scaled = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(f64::MIN_POSITIVE).ln(),
        };
        let first = self.ticks.first().copied().unwrap_or(0.0);
        let last = self.ticks.last().copied().unwrap_or(1.0);
        let place = (scaled(value) - scaled(first)) / (scaled(last) - scaled(first));
        place.clamp(0.0, 1.0)
    }
}

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, by the first axis.
    pub points: Vec<(f64, f64)>,
    /// Dashed, for what is a reference rather than a measurement; without marks.
    pub dashed: bool,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: &'static str,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Chart {
    /// The chart as an SVG document.
    pub fn svg(&self) -> String {
        let mut out = String::new();
        self.draw(&mut out)
            .expect("writing to a string does not fail");
        out
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let right = LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT);
        let down = HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM);
        (right, down)
    }

    fn draw(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">"##
        )?;
        writeln!(
            out,
            r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"##
        )?;
        let title = escaped(self.title);
        writeln!(
            out,
            r#"<text x="{LEFT}" y="24" font-size="15">{title}</text>"#
        )?;
        self.draw_axes(out)?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            self.draw_line(out, line, colour)?;
        }
        for (number, (line, colour)) in self.lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let (x, y) = (WIDTH - RIGHT + 16.0, TOP + 12.0 + 20.0 * number as f64);
            let (dash, name) = (dash(line), escaped(&line.name));
            writeln!(
                out,
                r#"<path d="M{x} {y}h22" stroke="{colour}" stroke-width="2"{dash}/><text x="{}" y="{}">{name}</text>"#,
                x + 28.0,
                y + 4.0
            )?;
        }
        writeln!(out, "</svg>")
    }

    fn draw_axes(&self, out: &mut String) -> std::fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for &tick in &self.x.ticks {
            let (x, _) = self.at((tick, 0.0));
            let label = number(tick);
            writeln!(
                out,
                r##"<path d="M{x:.1} {TOP}V{bottom}" stroke="#ddd"/><text x="{x:.1}" y="{}" text-anchor="middle">{label}</text>"##,
                bottom + 18.0
            )?;
        }
        for &tick in &self.y.ticks {
            let (_, y) = self.at((0.0, tick));
            let label = number(tick);
            writeln!(
                out,
                r##"<path d="M{LEFT} {y:.1}H{right}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{label}</text>"##,
                LEFT - 8.0,
                y + 4.0
            )?;
        }
        let (x, y) = (escaped(self.x.title), escaped(self.y.title));
        let (across, down) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        writeln!(
            out,
            r#"<text x="{across}" y="{}" text-anchor="middle">{x}</text>"#,
            HEIGHT - 12.0
        )?;
        writeln!(
            out,
            r#"<text x="18" y="{down}" text-anchor="middle" transform="rotate(-90 18 {down})">{y}</text>"#
        )
    }

    fn draw_line(&self, out: &mut String, line: &Line, colour: &str) -> std::fmt::Result {
        let points: Vec<(f64, f64)> = line.points.iter().map(|&point| self.at(point)).collect();
        let mut path = String::new();
        for (number, (x, y)) in points.iter().enumerate() {
            write!(path, "{}{x:.1} {y:.1}", if number == 0 { 'M' } else { 'L' })?;
        }
        let dash = dash(line);
        writeln!(
            out,
            r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>"#
        )?;
        // Marks would hide a line of many points.
        if !line.dashed && points.len() <= 20 {
            for (x, y) in points {
                writeln!(
                    out,
                    r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#
                )?;
            }
        }
        Ok(())
    }
}

fn dash(line: &Line) -> &'static str {
    match line.dashed {
        true => r#" stroke-dasharray="6 4""#,
        false => "",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A number for people: thousands as k, millions as M.
fn number(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{unit}", (value * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_where_their_axes_say() {
        let chart = Chart {
            title: "a < b",
            x: Axis::logarithmic("x", &[1.0, 10.0, 100.0]),
            y: Axis::linear("y", &[0.0, 2.0]),
            lines: vec![Line {
                name: "one".into(),
                points: vec![(1.0, 0.0), (10.0, 1.0), (1_000.0, 2.0)],
                dashed: false,
            }],
        };
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        assert_eq!(chart.at((1.0, 0.0)), (LEFT, bottom));
        assert_eq!(
            chart.at((10.0, 1.0)),
            ((LEFT + right) / 2.0, (TOP + bottom) / 2.0)
        );
        // Outside: on the edge.
        assert_eq!(chart.at((1_000.0, 2.0)), (right, TOP));
        let svg = chart.svg();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("a &lt; b") && svg.matches("<circle").count() == 3);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(1_000_000.0), "1M");
        assert_eq!(number(2_500.0), "2.5k");
        assert_eq!(number(0.25), "0.25");
    }
}
