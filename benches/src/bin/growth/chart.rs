//! A chart with two logarithmic axes, as SVG.

use crate::power;
use plotters::prelude::*;
use std::{error::Error, ops::Range, path::Path};

/// Times over numbers.
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    /// What the numbers are.
    pub(crate) across: &'static str,
    pub(crate) lines: Vec<Line>,
}

pub(crate) struct Line {
    pub(crate) name: String,
    /// A number and nanoseconds.
    pub(crate) points: Vec<(u64, f64)>,
}

/// Told apart by those who see few colours, too (Okabe and Ito, "Color Universal Design", 2008).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];
const SIZE: (u32, u32) = (760, 460);

impl Chart {
    /// # Errors
    ///
    /// If the file can not be written.
    pub(crate) fn draw(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let (across, up) = self.ranges();
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 20))
            .margin(14)
            .margin_right(28)
            .x_label_area_size(48)
            .y_label_area_size(76)
            .build_cartesian_2d(across.log_scale(), up.log_scale())?;
        chart
            .configure_mesh()
            .x_desc(self.across)
            .y_desc("CPU time of one merge")
            .axis_desc_style(("sans-serif", 15))
            .label_style(("sans-serif", 14))
            .x_label_formatter(&|number| power(number.round() as u64))
            .y_label_formatter(&|time| label(*time))
            .light_line_style(RGBColor(240, 240, 240))
            .bold_line_style(RGBColor(215, 215, 215))
            .draw()?;
        for (line, colour) in self.lines.iter().zip(COLOURS) {
            let points = || line.points.iter().map(|(number, time)| (*number as f64, *time));
            chart
                .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(RGBColor(190, 190, 190))
            .label_font(("sans-serif", 14))
            .draw()?;
        area.present()?;
        Ok(())
    }

    /// Whole powers of ten around all points.
    fn ranges(&self) -> (Range<f64>, Range<f64>) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let around = |values: &mut dyn Iterator<Item = f64>| {
            let (least, most) =
                values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
            10_f64.powf(least.log10().floor())..10_f64.powf(most.log10().ceil())
        };
        (
            around(&mut points().map(|(number, _)| *number as f64)),
            around(&mut points().map(|(_, time)| *time)),
        )
    }
}

/// A power of ten of nanoseconds.
fn label(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 0.999e3 => format!("{ns:.0} ns"),
        ns if ns < 0.999e6 => format!("{:.0} µs", ns / 1e3),
        ns if ns < 0.999e9 => format!("{:.0} ms", ns / 1e6),
        ns => format!("{:.0} s", ns / 1e9),
    }
}
