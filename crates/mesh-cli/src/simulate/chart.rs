//! Pictures of a what-if, as SVG.

use anyhow::Result;
use mesh_sim::whatif::{Partition, Report, Sample};
use plotters::prelude::*;

/// Told apart by those who see few colours, too (Okabe and Ito, "Color Universal Design", 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
const SIZE: (u32, u32) = (860, 420);
const SQUARE: (u32, u32) = (760, 760);
/// So many lines have their names beside them; more would cover the picture.
const NAMED: usize = 16;
/// How many intervals a rate is the mean of.
const SMOOTH: usize = 4;

struct Chart<'a> {
    title: String,
    up: &'a str,
    lines: Vec<(String, Vec<(f64, f64)>)>,
    partitions: &'a [Partition],
}

/// How many events each leader lacks, over time.
///
/// # Errors
///
/// If it cannot be drawn.
pub(super) fn lag(report: &Report) -> Result<String> {
    let line = |leader: usize| {
        let point = |sample: &Sample| (sample.at_ms / 1e3, number(sample.lag[leader]));
        (format!("leader {leader}"), report.samples.iter().map(point).collect())
    };
    let lines = (0..report.what_if.leaders).map(line).collect();
    draw(&Chart {
        title: title("Lag", report),
        up: "events behind",
        lines,
        partitions: &report.what_if.partitions,
    })
}

/// How many bytes go over each kind of link, over time.
///
/// # Errors
///
/// If it cannot be drawn.
pub(super) fn bytes(report: &Report) -> Result<String> {
    let line = |class: &mesh_sim::whatif::Class| {
        let sent = |sample: &Sample| number(sample.bytes.get(&class.name).copied().unwrap_or(0));
        let rate = |span: &[Sample]| {
            let [first, .., last] = span else { return None };
            let seconds = (last.at_ms - first.at_ms) / 1e3;
            (seconds > 0.0).then(|| (last.at_ms / 1e3, (sent(last) - sent(first)) / seconds / 1e3))
        };
        (class.name.clone(), report.samples.windows(SMOOTH + 1).filter_map(rate).collect())
    };
    let lines = report.classes.iter().map(line).collect();
    draw(&Chart {
        title: title("Bytes", report),
        up: "kB a second",
        lines,
        partitions: &report.what_if.partitions,
    })
}

/// How many bytes went over each link, both ways together, as a square of leaders by leaders.
///
/// # Errors
///
/// If it cannot be drawn.
pub(super) fn links(report: &Report) -> Result<String> {
    let count = report.what_if.leaders;
    let most = report.links.iter().map(|link| link.payload + link.metadata).max().unwrap_or(0).max(1);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SQUARE).into_drawing_area();
        area.fill(&WHITE)?;
        let end = number(count as u64);
        let mut axes = ChartBuilder::on(&area)
            .caption(title("MB by link", report), ("sans-serif", 19))
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..end, end..0.0)?;
        axes.configure_mesh()
            .disable_mesh()
            .x_desc("leader")
            .y_desc("leader")
            .axis_desc_style(("sans-serif", 15))
            .label_style(("sans-serif", 14))
            .x_labels(count.min(NAMED) + 1)
            .y_labels(count.min(NAMED) + 1)
            .x_label_formatter(&|leader| format!("{leader:.0}"))
            .y_label_formatter(&|leader| format!("{leader:.0}"))
            .draw()?;
        for link in &report.links {
            let sent = link.payload + link.metadata;
            let shade = COLOURS[0].mix(0.1 + 0.9 * number(sent) / number(most));
            let (a, b) = (number(link.leaders.0 as u64), number(link.leaders.1 as u64));
            for (x, y) in [(a, b), (b, a)] {
                axes.draw_series([Rectangle::new([(x, y), (x + 1.0, y + 1.0)], shade.filled())])?;
                if count <= NAMED {
                    let text = format!("{:.2}", number(sent) / 1e6);
                    axes.draw_series([Text::new(text, (x + 0.1, y + 0.4), ("sans-serif", 13))])?;
                }
            }
        }
        area.present()?;
    }
    Ok(svg)
}

#[expect(clippy::cast_precision_loss, reason = "a point in a picture")]
fn number(count: u64) -> f64 {
    count as f64
}

fn title(what: &str, report: &Report) -> String {
    let what_if = &report.what_if;
    format!("{what}: {} leaders, {}, {} writes/s", what_if.leaders, what_if.topology, what_if.ops)
}

fn draw(chart: &Chart<'_>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || chart.lines.iter().flat_map(|line| &line.1);
        let end = points().map(|point| point.0).fold(1.0, f64::max);
        let top = points().map(|point| point.1).fold(1.0, f64::max) * 1.05;
        let mut axes = ChartBuilder::on(&area)
            .caption(&chart.title, ("sans-serif", 19))
            .margin(14)
            .margin_right(28)
            .x_label_area_size(46)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        axes.configure_mesh()
            .x_desc("seconds")
            .y_desc(chart.up)
            .axis_desc_style(("sans-serif", 15))
            .label_style(("sans-serif", 14))
            .x_label_formatter(&|seconds| format!("{seconds}"))
            .y_label_formatter(&|number| format!("{number}"))
            .max_light_lines(1)
            .light_line_style(RGBColor(245, 245, 245))
            .bold_line_style(RGBColor(225, 225, 225))
            .draw()?;
        axes.draw_series(chart.partitions.iter().map(|Partition { from, to, .. }| {
            Rectangle::new(
                [(from.min(end), 0.0), (to.min(end), top)],
                RGBColor(150, 150, 150).mix(0.25).filled(),
            )
        }))?;
        for ((name, points), colour) in chart.lines.iter().zip(COLOURS.iter().cycle()) {
            let line = axes.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
            if chart.lines.len() <= NAMED {
                let sample = |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
                line.label(name).legend(sample);
            }
        }
        axes.configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(190, 190, 190))
            .label_font(("sans-serif", 13))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_sim::whatif::WhatIf;

    #[test]
    fn each_leader_and_each_kind_of_link_has_its_line_and_partitions_are_shaded() {
        let partitions = vec![Partition { from: 1.0, to: 2.0, leaders: vec![0] }];
        let report =
            WhatIf { leaders: 3, ops: 20.0, seconds: 3, partitions, ..WhatIf::default() }.run().unwrap();
        let (lag, bytes) = (lag(&report).unwrap(), bytes(&report).unwrap());
        for picture in [&lag, &bytes] {
            assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
            assert_eq!(picture.matches("opacity=\"0.25\"").count(), 1);
        }
        for leader in 0..3 {
            assert!(lag.contains(&format!("leader {leader}")));
        }
        assert!(!lag.contains("leader 3") && bytes.contains("all links"));
        let links = links(&report).unwrap();
        assert_eq!(report.links.len(), 3, "{report}");
        for link in &report.links {
            let text = format!("{:.2}", number(link.payload + link.metadata) / 1e6);
            assert!(links.matches(&text).count() >= 2, "{text} on both sides of the diagonal");
        }
    }
}
