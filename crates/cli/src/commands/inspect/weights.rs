use clap::Args;
use comfy_table::{Cell, CellAlignment};
use llm_model::{ParamInfo, named_params};
use serde::Serialize;

use super::{LoadArgs, shape_text, table};
use crate::error::CliError;
use crate::printer::{Printer, stdout};

/// What `llm inspect weights` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example: llm inspect weights --model runs/mine")]
pub struct WeightsArgs {
    #[command(flatten)]
    load: LoadArgs,

    /// Print one JSON object per tensor and line.
    #[arg(long)]
    json: bool,
}

/// What the values of a tensor are like.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Statistics {
    name: String,
    shape: Vec<usize>,
    mean: f64,
    /// Standard deviation over all values.
    std: f64,
    min: f32,
    max: f32,
    /// Square root of the sum of squares.
    norm: f64,
}

impl Statistics {
    fn new(info: &ParamInfo, values: &[f32]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        let squares: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
        Self {
            name: info.name.clone(),
            shape: info.shape.clone(),
            mean,
            std: variance.sqrt(),
            min: values.iter().copied().fold(f32::INFINITY, f32::min),
            max: values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            norm: squares.sqrt(),
        }
    }
}

pub fn run(args: &WeightsArgs, printer: Printer) -> Result<(), CliError> {
    let (model, ..) = args.load.load(printer)?;
    let mut all = Vec::new();
    named_params(&model, &mut |info, data| {
        let values: Vec<f32> = data.iter::<f32>().collect();
        all.push(Statistics::new(info, &values));
    });
    let mut out = stdout();
    if args.json {
        for statistics in &all {
            writeln!(out, "{}", serde_json::json!(statistics))?;
        }
        return Ok(());
    }
    let mut table = table(["tensor", "shape", "mean", "std", "min", "max", "norm"]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for Statistics { name, shape, mean, std, min, max, norm } in &all {
        let mut row = vec![Cell::new(name), Cell::new(shape_text(shape))];
        row.extend([*mean, *std, f64::from(*min), f64::from(*max)].map(|x| right(format!("{x:.4}"))));
        row.push(right(format!("{norm:.2}")));
        table.add_row(row);
    }
    writeln!(out, "{}", table.trim_fmt())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use llm_model::Role;

    use super::*;

    #[test]
    fn statistics_are_those_of_the_values() {
        let info = ParamInfo { name: "x".into(), shape: vec![4], role: Role::Norm };
        let Statistics { mean, std, min, max, norm, .. } = Statistics::new(&info, &[1.0, -1.0, 3.0, 5.0]);
        assert_eq!((mean, std, min, max, norm), (2.0, 5f64.sqrt(), -1.0, 5.0, 6.0));
    }
}
