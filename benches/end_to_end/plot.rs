//! Plots as SVG.

use std::io;

use plotters::prelude::*;

const WIDTH: u32 = 760;
const COLOURS: [RGBColor; 2] = [RGBColor(0, 95, 175), RGBColor(200, 110, 0)];

/// One broker's figures over size.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Figures over size, the sizes with a logarithmic axis.
pub(crate) fn lines(axis: &str, lines: &[Line]) -> io::Result<String> {
    let mut svg = String::new();
    draw_lines(&mut svg, axis, lines).map_err(io::Error::other)?;
    Ok(svg)
}

type Drawn = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn draw_lines(svg: &mut String, axis: &str, lines: &[Line]) -> Drawn {
    let all = || lines.iter().flat_map(|line| &line.points);
    let smallest = all().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let largest = all().map(|(x, _)| *x).fold(1.0, f64::max);
    let highest = all().map(|(_, y)| *y).fold(0.0, f64::max);
    let root = SVGBackend::with_string(svg, (WIDTH, 320)).into_drawing_area();
    root.fill(&WHITE).map_err(text)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .caption(axis, ("sans-serif", 16))
        .build_cartesian_2d((smallest..largest).log_scale(), 0.0..highest * 1.1)
        .map_err(text)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|x| format!("{x}"))
        .draw()
        .map_err(text)?;
    for (line, colour) in lines.iter().zip(COLOURS) {
        let series = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
        chart
            .draw_series(series)
            .map_err(text)?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        let dots = line.points.iter();
        chart
            .draw_series(dots.map(|point| Circle::new(*point, 3, colour.filled())))
            .map_err(text)?;
    }
    chart
        .configure_series_labels()
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE)
        .draw()
        .map_err(text)?;
    root.present().map_err(text)?;
    Ok(())
}

/// Ratios to the peer, with a mark where each has its goal.
pub(crate) fn bars(ratios: &[(&str, f64, f64)]) -> io::Result<String> {
    let mut svg = String::new();
    draw_bars(&mut svg, ratios).map_err(io::Error::other)?;
    Ok(svg)
}

fn draw_bars(svg: &mut String, ratios: &[(&str, f64, f64)]) -> Drawn {
    let count = u32::try_from(ratios.len())?;
    let root = SVGBackend::with_string(svg, (WIDTH, 90 + 24 * count)).into_drawing_area();
    root.fill(&WHITE).map_err(text)?;
    let highest = ratios
        .iter()
        .flat_map(|(_, ratio, goal)| [*ratio, *goal])
        .fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(130)
        .caption(
            "CPU for each message, times mosquitto's; the mark is the goal",
            ("sans-serif", 16),
        )
        .build_cartesian_2d(
            (0.01..highest * 1.2).log_scale(),
            (0..count).into_segmented(),
        )
        .map_err(text)?;
    let name = |place: &SegmentValue<u32>| match place {
        SegmentValue::CenterOf(place) | SegmentValue::Exact(place) => ratios
            .iter()
            .rev()
            .nth(*place as usize)
            .map_or_else(String::new, |(name, ..)| (*name).to_owned()),
        SegmentValue::Last => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .y_labels(ratios.len())
        .y_label_formatter(&name)
        .x_label_formatter(&|x| format!("{x}"))
        .draw()
        .map_err(text)?;
    for (place, (_, ratio, goal)) in ratios.iter().rev().enumerate() {
        let place = u32::try_from(place)?;
        let (low, high) = (SegmentValue::Exact(place), SegmentValue::Exact(place + 1));
        let mut bar = Rectangle::new(
            [(0.01, low.clone()), (*ratio, high.clone())],
            COLOURS[0].filled(),
        );
        bar.set_margin(4, 4, 0, 0);
        chart.draw_series([bar]).map_err(text)?;
        let mark = PathElement::new([(*goal, low), (*goal, high)], COLOURS[1].stroke_width(2));
        chart.draw_series([mark]).map_err(text)?;
    }
    root.present().map_err(text)?;
    Ok(())
}

/// The library's errors borrow from what is drawn on.
fn text(error: impl std::error::Error) -> String {
    error.to_string()
}
