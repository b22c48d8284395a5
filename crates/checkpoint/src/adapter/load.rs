use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::TensorData;
use llm_model::{CausalLm, Lora, LoraConfig, TargetModules};

use super::config::PeftConfig;
use super::{Member, Module, PICKLED, PREFIX, WEIGHTS, modules, targets};
use crate::CheckpointError;
use crate::weights::{Load, WeightFile};

/// `model`, frozen, with the adapter in `dir`, which is trained on from there.
///
/// # Errors
/// Missing and damaged files; settings that are not supported; tensors that are missing, superfluous, not finite, or of
/// another shape than the model makes them: each with the file, the name and both values.
pub fn load_adapter(dir: &Path, model: CausalLm) -> Result<CausalLm, CheckpointError> {
    let stored = Stored::open(dir, &model)?;
    let factors = stored.factors(&model)?;
    let linears = model.linears();
    let names: Vec<&str> = linears.iter().map(|(name, _)| name.as_str()).collect();
    let chosen: Vec<&str> = names.iter().copied().filter(|name| factors.contains_key(*name)).collect();
    let config = LoraConfig {
        rank: stored.config.rank(),
        alpha: stored.config.alpha(),
        dropout: stored.config.dropout,
        target_modules: TargetModules::Names(targets(&names, &chosen)),
        rslora: stored.config.rslora,
        dora: stored.config.dora,
    };
    install(model, Some(config), factors, stored.config.dropout)
}

/// `model` with the adapters in several directories, each times a weight: what it then adds is the weighted sum of what
/// they add. For inference.
///
/// # Errors
/// As [`load_adapter`]; and adapters of DoRA, which are no sum, beside others or with a weight that is not 1.
pub fn load_adapters(adapters: &[(&Path, f64)], model: CausalLm) -> Result<CausalLm, CheckpointError> {
    let alone = adapters.len() == 1;
    let mut sum: BTreeMap<String, Factors> = BTreeMap::new();
    for &(dir, weight) in adapters {
        let stored = Stored::open(dir, &model)?;
        if stored.config.dora && !(alone && weight == 1.0) {
            return Err(CheckpointError::WeightedDora { path: dir.to_owned() });
        }
        for (name, mut factors) in stored.factors(&model)? {
            factors.scale *= weight;
            let factors = match sum.remove(&name) {
                Some(before) => before.and(factors),
                None => factors,
            };
            sum.insert(name, factors);
        }
    }
    install(model, None, sum, 0.0)
}

fn install(
    model: CausalLm,
    config: Option<LoraConfig>,
    mut factors: BTreeMap<String, Factors>,
    dropout: f64,
) -> Result<CausalLm, CheckpointError> {
    model.replace_adapters(config, |name, linear| {
        let device = linear.weight.lazy_device();
        Ok(factors.remove(name).map(|f| {
            let rows = f.b.len() / f.rank;
            let magnitude = f.magnitude.map(|values| TensorData::new(values, [rows]));
            let columns = f.a.len() / f.rank;
            let factors = [TensorData::new(f.a, [f.rank, columns]), TensorData::new(f.b, [rows, f.rank])];
            Lora::new(factors, magnitude, f.scale, dropout, &device)
        }))
    })
}

/// The adapter of one linear layer of ours.
#[derive(Debug, Clone)]
struct Factors {
    rank: usize,
    scale: f64,
    /// `(rank, in)`.
    a: Vec<f32>,
    /// `(out, rank)`.
    b: Vec<f32>,
    /// `(out)`.
    magnitude: Option<Vec<f32>>,
}

impl Factors {
    /// The adapter that adds what both add: their ranks side by side.
    fn and(self, other: Self) -> Self {
        let rank = self.rank + other.rank;
        let scaled = |b: &[f32], scale: f64| b.iter().map(|x| (f64::from(*x) * scale) as f32).collect::<Vec<f32>>();
        let rows = scaled(&self.b, self.scale);
        let others = scaled(&other.b, other.scale);
        let b = rows.chunks(self.rank).zip(others.chunks(other.rank)).flat_map(|(x, y)| [x, y].concat()).collect();
        Self { rank, scale: 1.0, a: [self.a, other.a].concat(), b, magnitude: None }
    }
}

/// The tensors of the adapter in `dir`.
pub(super) fn open_tensors(dir: &Path) -> Result<WeightFile, CheckpointError> {
    let name = if !dir.join(WEIGHTS).exists() && dir.join(PICKLED).exists() { PICKLED } else { WEIGHTS };
    let hint = "an adapter's tensors lie beside its adapter_config.json";
    WeightFile::open(&dir.join(name), hint, Load::Float32)
}

/// An adapter on disk.
struct Stored {
    config: PeftConfig,
    file: WeightFile,
    names: BTreeSet<String>,
}

impl Stored {
    /// Opens it, and checks that all of its tensors have their place in `model`.
    fn open(dir: &Path, model: &CausalLm) -> Result<Self, CheckpointError> {
        let config = PeftConfig::read(dir)?;
        let file = open_tensors(dir)?;
        let names = file.names().into_iter().collect();
        let stored = Self { config, file, names };
        stored.check(model)?;
        Ok(stored)
    }

    fn check(&self, model: &CausalLm) -> Result<(), CheckpointError> {
        let modules = modules(model);
        let mut extra: BTreeSet<&str> = self.names.iter().map(String::as_str).collect();
        let mut found = false;
        for module in &modules {
            let [a, b, magnitude] = self.tensors(&module.name);
            for name in [&a, &b, &magnitude] {
                found |= extra.remove(name.as_str());
            }
            let base = format!("{PREFIX}{}.base_layer.weight", module.name);
            if extra.remove(base.as_str()) {
                self.check_base(&base, module)?;
            }
        }
        if found && extra.is_empty() {
            return Ok(());
        }
        let linears = modules.iter().take(3).map(|module| format!("{PREFIX}{}", module.name)).collect();
        let (path, count) = (self.file.path().to_owned(), extra.len());
        let names = extra.into_iter().take(3).map(ToOwned::to_owned).collect();
        Err(CheckpointError::NoPlaceForAdapter { path, count, names, linears })
    }

    /// PEFT stores some layers of the base along with their adapter. They must be the base's.
    fn check_base(&self, tensor: &str, module: &Module) -> Result<(), CheckpointError> {
        self.expect_shape(tensor, &[module.rows, module.columns])?;
        let stored = self.file.floats(tensor)?.into_f32();
        let of_member = |member: &Member| member.linear.values().into_data().iter().collect::<Vec<f32>>();
        let ours: Vec<f32> = module.members.iter().flat_map(of_member).collect();
        if stored == ours {
            return Ok(());
        }
        Err(CheckpointError::AdapterOfAnotherBase { path: self.file.path().to_owned(), tensor: tensor.to_owned() })
    }

    /// The names of both factors and the magnitude of a module.
    fn tensors(&self, module: &str) -> [String; 3] {
        let name = |kind: &str| format!("{PREFIX}{module}.{kind}");
        let old = name("lora_magnitude_vector.weight");
        let magnitude = if self.names.contains(&old) { old } else { name("lora_magnitude_vector") };
        [name("lora_A.weight"), name("lora_B.weight"), magnitude]
    }

    /// The adapters of our linear layers.
    fn factors(&self, model: &CausalLm) -> Result<BTreeMap<String, Factors>, CheckpointError> {
        let mut all = BTreeMap::new();
        for module in modules(model) {
            if self.tensors(&module.name).iter().any(|name| self.names.contains(name)) {
                let whole = self.whole(&module)?;
                let blocks = module.members.len();
                let split =
                    blocks > 1 && whole.rank == blocks * self.config.rank() && is_block_diagonal(&whole, &module);
                for (i, member) in module.members.iter().enumerate() {
                    let factors = whole.rows_of(member);
                    let factors = if split { factors.block(i, blocks) } else { factors };
                    // A layer without an adapter among those that have one.
                    let none = factors.magnitude.is_none() && factors.a.iter().chain(&factors.b).all(|x| *x == 0.0);
                    if !(split && none) {
                        all.insert(member.name.clone(), factors);
                    }
                }
            }
        }
        Ok(all)
    }

    /// The adapter of a whole module.
    fn whole(&self, module: &Module) -> Result<Factors, CheckpointError> {
        let [a, b, magnitude] = self.tensors(&module.name);
        let rank = self.config.rank_of(&module.name);
        let alpha = self.config.alpha_of(&module.name);
        let config = LoraConfig { rslora: self.config.rslora, ..LoraConfig::default() };
        let magnitude = if self.config.dora { Some(self.read(&magnitude, &[module.rows])?) } else { None };
        Ok(Factors {
            rank,
            scale: config.scale(rank, alpha),
            a: self.read(&a, &[rank, module.columns])?,
            b: self.read(&b, &[module.rows, rank])?,
            magnitude,
        })
    }

    fn read(&self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        self.expect_shape(tensor, shape)?;
        Ok(self.file.floats(tensor)?.into_f32())
    }

    fn expect_shape(&self, tensor: &str, expected: &[usize]) -> Result<(), CheckpointError> {
        let path = self.file.path().to_owned();
        match self.file.shape(tensor) {
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(CheckpointError::AdapterShape {
                path,
                tensor: tensor.to_owned(),
                found: found.to_vec(),
                expected: expected.to_vec(),
            }),
            None => Err(CheckpointError::MissingTensor {
                path,
                tensor: tensor.to_owned(),
                hint: "check that the file belongs to its adapter_config.json".to_owned(),
            }),
        }
    }
}

impl Factors {
    /// The part of a module's adapter that belongs to one of ours.
    fn rows_of(&self, member: &Member) -> Self {
        let rows = member.start..member.start + member.rows;
        Self {
            b: self.b[rows.start * self.rank..rows.end * self.rank].to_vec(),
            magnitude: self.magnitude.as_ref().map(|magnitude| magnitude[rows].to_vec()),
            ..self.clone()
        }
    }

    /// Block `i` of `n` along the rank, with the scale of the whole.
    fn block(self, i: usize, n: usize) -> Self {
        let rank = self.rank / n;
        let columns = self.a.len() / self.rank;
        let b = self.b.chunks(self.rank).flat_map(|row| &row[i * rank..(i + 1) * rank]).copied().collect();
        Self { rank, a: self.a[i * rank * columns..(i + 1) * rank * columns].to_vec(), b, ..self }
    }
}

/// Whether each member's rows of `b` are zero but in its own block along the rank.
fn is_block_diagonal(whole: &Factors, module: &Module) -> bool {
    let rank = whole.rank / module.members.len();
    module.members.iter().enumerate().all(|(i, member)| {
        let rows = whole.b.chunks(whole.rank).skip(member.start).take(member.rows);
        rows.into_iter().all(|row| row.iter().enumerate().all(|(j, x)| *x == 0.0 || j / rank == i))
    })
}
