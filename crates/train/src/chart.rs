//! `loss.svg`: training and validation loss against tokens.

use std::error::Error;

use plotters::prelude::*;

use crate::TrainError;
use crate::metrics::Line;

/// Points of the training curve that are kept; twice as many become half as many, so that memory stays flat.
const MOST_POINTS: usize = 1024;
const SIZE: (u32, u32) = (960, 540);
const TRAINING: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const VALIDATION: RGBColor = RGBColor(0xd6, 0x27, 0x28);
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xe6, 0xe6, 0xe6);

/// What the chart shows, in (tokens, loss).
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// Means over `stride` steps each.
    training: Vec<(f64, f64)>,
    stride: usize,
    /// Tokens, sum of losses and number of the steps that do not make a point yet.
    pending: (f64, f64, usize),
    validation: Vec<(f64, f64)>,
}

impl Default for Curves {
    fn default() -> Self {
        Self { training: Vec::new(), stride: 1, pending: (0.0, 0.0, 0), validation: Vec::new() }
    }
}

impl Curves {
    /// Adds a line of the metrics.
    pub fn push(&mut self, line: &Line) {
        match line {
            Line::Eval(record) => self.validation.push((record.tokens as f64, f64::from(record.val_loss))),
            Line::Step(record) => {
                let (_, sum, count) = self.pending;
                self.pending = (record.tokens as f64, sum + f64::from(record.loss), count + 1);
                if self.pending.2 == self.stride {
                    self.training.push((self.pending.0, self.pending.1 / self.stride as f64));
                    self.pending = (0.0, 0.0, 0);
                }
                if self.training.len() == 2 * MOST_POINTS {
                    self.training = self.training.chunks(2).map(|p| (p[1].0, f64::midpoint(p[0].1, p[1].1))).collect();
                    self.stride *= 2;
                }
            }
        }
    }

    /// The chart.
    pub fn svg(&self) -> Result<String, TrainError> {
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|error| TrainError::Chart(error.to_string()))?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn Error + '_>> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let points = || self.training.iter().chain(&self.validation);
        let tokens = points().map(|p| p.0).fold(1.0, f64::max);
        let low = points().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let high = points().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
        // An empty or flat chart still has a height.
        let (low, high) = if low < high { (low, high) } else { (0.0, high.max(1.0)) };
        let margin = 0.05 * (high - low);

        let mut chart = ChartBuilder::on(&root)
            .margin(20)
            .caption("Loss (nats per token)", ("sans-serif", 20, &INK))
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..tokens, (low - margin).max(0.0)..high + margin)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(("sans-serif", 14, &INK))
            .x_desc("tokens")
            .x_label_formatter(&|tokens| short(*tokens))
            .y_label_formatter(&|loss| format!("{loss:.1}"))
            .draw()?;
        chart.draw_series(LineSeries::new(self.training.iter().copied(), TRAINING.mix(0.25)))?;
        chart
            .draw_series(LineSeries::new(smooth(&self.training), TRAINING.stroke_width(2)))?
            .label("training")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], TRAINING.stroke_width(2)));
        chart
            .draw_series(LineSeries::new(self.validation.iter().copied(), VALIDATION.stroke_width(2)).point_size(3))?
            .label("validation")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], VALIDATION.stroke_width(2)));
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 14, &INK))
            .border_style(GRID)
            .background_style(WHITE.mix(0.9))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

/// Exponential moving average over about a fiftieth of the points, without the bias towards the first.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let decay = 1.0 - 1.0 / (points.len() as f64 / 50.0).max(1.0);
    let (mut mean, mut weight) = (0.0, 0.0);
    let next = |&(x, y): &(f64, f64)| {
        mean = decay * mean + (1.0 - decay) * y;
        weight = decay * weight + (1.0 - decay);
        (x, mean / weight)
    };
    points.iter().map(next).collect()
}

/// 1234567 as 1.2M.
fn short(n: f64) -> String {
    let (value, unit) = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")]
        .into_iter()
        .find(|(size, _)| n >= *size)
        .map_or((n, ""), |(size, unit)| (n / size, unit));
    let rounded = format!("{value:.1}");
    format!("{}{unit}", rounded.strip_suffix(".0").unwrap_or(&rounded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EvalRecord, StepRecord};

    fn step(step: u64, loss: f32) -> Line {
        Line::Step(StepRecord {
            step,
            tokens: 1000 * step,
            loss,
            lr: 1e-3,
            grad_norm: 1.0,
            tokens_per_s: 1.0,
            flops_utilization: 0.1,
            peak_rss_mib: None,
            seconds: 1.0,
        })
    }

    #[test]
    fn a_long_run_keeps_few_points_and_their_mean() {
        let mut curves = Curves::default();
        for i in 1..=100_000 {
            curves.push(&step(i, if i % 2 == 0 { 3.0 } else { 1.0 }));
        }
        assert!(curves.training.len() < 2 * MOST_POINTS);
        assert!(curves.training.iter().all(|&(_, loss)| (loss - 2.0).abs() < 1e-9));
    }

    #[test]
    fn empty_flat_and_real_charts_are_drawn() -> Result<(), TrainError> {
        let mut curves = Curves::default();
        assert!(curves.svg()?.contains("</svg>"));
        curves.push(&step(1, 2.0));
        assert!(curves.svg()?.contains("</svg>"));
        for i in 2..400 {
            curves.push(&step(i, 7.0 / (i as f32).sqrt() + 1.0 + (i * 7919 % 100) as f32 / 300.0));
            if i % 50 == 0 {
                let val_loss = 7.0 / (i as f32).sqrt() + 1.3;
                curves.push(&Line::Eval(EvalRecord {
                    step: i,
                    tokens: 1000 * i,
                    val_loss,
                    accuracy: None,
                    seconds: 1.0,
                    best: true,
                }));
            }
        }
        let svg = curves.svg()?;
        for text in ["training", "validation", "tokens", "300k"] {
            assert!(svg.contains(text), "{text}");
        }
        if let Some(path) = std::env::var_os("LLM_TEST_CHART") {
            std::fs::write(&path, svg).map_err(TrainError::io(path))?;
        }
        Ok(())
    }

    #[test]
    fn axis_labels_are_short() {
        assert_eq!([0.0, 950.0, 1500.0, 2e6, 1.25e9].map(short), ["0", "950", "1.5k", "2M", "1.2B"]);
    }
}
