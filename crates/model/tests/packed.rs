//! Samples that lie one behind the other in a row know nothing of one another.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_model::{CausalLm, IGNORED, ModelSection, PositionKind, named_params};

/// Lengths of the samples, and of the row.
const LENGTHS: [usize; 3] = [5, 1, 7];
const ROW: usize = 16;

fn ints(values: Vec<i32>) -> Tensor<2, Int> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [1, n]), &Device::flex().autodiff())
}

fn model(position: PositionKind, window: Option<usize>) -> CausalLm {
    let section = ModelSection {
        context_length: ROW,
        hidden_size: 16,
        num_heads: 2,
        num_layers: 2,
        position: Some(position),
        sliding_window: window,
        ..ModelSection::default()
    };
    CausalLm::new(&section.resolve(11).unwrap(), &Device::flex().autodiff()).initialize(3)
}

/// The gradients of a loss by every parameter, one behind the other.
fn gradients(model: &CausalLm, loss: &Tensor<1>) -> Vec<f32> {
    struct Visitor(burn::tensor::Gradients, Vec<f32>);
    impl burn::module::ModuleVisitor for Visitor {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            let gradient = param.val().grad(&self.0).expect("every parameter is used");
            self.1.extend(gradient.into_data().iter::<f32>());
        }
    }
    let mut visitor = Visitor(loss.backward(), Vec::new());
    model.visit(&mut visitor);
    visitor.1
}

#[test]
fn packed_samples_are_as_alone() {
    for (position, window) in
        [(PositionKind::Learned, None), (PositionKind::Rotary, None), (PositionKind::Rotary, Some(3))]
    {
        let model = model(position, window);
        let mut count = 0;
        named_params(&model, &mut |info, _| count += info.len());
        let (mut row, mut targets, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut alone, mut sum): (Option<Tensor<1>>, f32) = (None, 0.0);
        for (number, length) in LENGTHS.into_iter().enumerate() {
            let ids: Vec<i32> = (0..length).map(|i| ((i * 5 + number * 3) % 11) as i32).collect();
            let next: Vec<i32> = (1..=length).map(|i| if i == length { IGNORED } else { ids[i] }).collect();
            let loss = model.loss(ints(ids.clone()), ints(next.clone()), None);
            sum += loss.clone().into_scalar::<f32>();
            alone = Some(alone.map_or(loss.clone(), |alone| alone + loss));
            starts.extend(vec![row.len() as u32; length]);
            row.extend(ids);
            targets.extend(next);
        }
        starts.extend(vec![row.len() as u32; ROW - row.len()]);
        row.resize(ROW, 0);
        targets.resize(ROW, IGNORED);
        let samples = starts.into();
        let packed = model.loss(ints(row.clone()), ints(targets.clone()), Some(&samples));
        let loss = packed.clone().into_scalar::<f32>();
        assert!((loss - sum).abs() < 1e-5 * sum, "{position:?}: {loss}, alone {sum}");
        let whole = model.loss(ints(row), ints(targets), None).into_scalar::<f32>();
        assert!((whole - sum).abs() > 1e-3, "{position:?}: the test would not see samples that look at each other");

        let (packed, alone) = (gradients(&model, &packed), gradients(&model, &alone.unwrap()));
        assert_eq!(packed.len(), count);
        let furthest = packed.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-5, "{position:?}: gradients differ by {furthest}");
    }
}

#[test]
fn losses_of_rows_add_up() {
    let model = model(PositionKind::Rotary, None);
    let device = Device::flex().autodiff();
    let ids = |shift: i32| Tensor::<2, Int>::from_data([[1, 2, 3 + shift], [4, 5 - shift, 6]], &device);
    let rows = model.row_losses(ids(0), &ids(1)).into_data().try_to_vec::<f32>().unwrap();
    let sum = model.loss(ids(0), ids(1), None).into_scalar::<f32>();
    assert!(rows.len() == 2 && (rows[0] + rows[1] - sum).abs() < 1e-5, "{rows:?}, {sum}");
}
