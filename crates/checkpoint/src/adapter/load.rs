use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::TensorData;
use llm_model::{CausalLm, Lora, LoraConfig, Role, TargetModules, params};

use super::config::AdapterConfig;
use super::replace::replace;
use super::tensors::{AdapterTensors, TOKEN_ROWS};
use super::{Member, Module, PREFIX, modules, targets};
use crate::CheckpointError;
use crate::weights::{HEAD, places};

/// `model`, frozen, with the adapter in `dir`, whose factors are trained on from there. What the adapter has besides, other
/// embeddings and whole layers, becomes the model's own.
///
/// # Errors
/// Missing and damaged files; settings that are not supported; tensors that are missing, superfluous, not finite, or of
/// another shape than the model makes them: each with the file, the name and both values.
pub fn load_adapter(dir: &Path, model: CausalLm) -> Result<CausalLm, CheckpointError> {
    let stored = [(Stored::open(dir)?, 1.0)];
    let model = prepare(&stored, model)?;
    let [(stored, _)] = stored;
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
/// they add, and what they replace moves by the weighted sum of the differences. For inference.
///
/// # Errors
/// As [`load_adapter`]; and adapters of DoRA, which are no sum, beside others or with a weight that is not 1.
pub fn load_adapters(adapters: &[(&Path, f64)], model: CausalLm) -> Result<CausalLm, CheckpointError> {
    let alone = adapters.len() == 1;
    let mut all = Vec::new();
    for &(dir, weight) in adapters {
        let stored = Stored::open(dir)?;
        if stored.config.dora && !(alone && weight == 1.0) {
            return Err(CheckpointError::WeightedDora { path: dir.to_owned() });
        }
        all.push((stored, weight));
    }
    let model = prepare(&all, model)?;
    let mut sum: BTreeMap<String, Factors> = BTreeMap::new();
    for (stored, weight) in &all {
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

/// `model` with all that adapters have but their factors; its head is one of its own where an adapter asks for that.
fn prepare(adapters: &[(Stored, f64)], model: CausalLm) -> Result<CausalLm, CheckpointError> {
    let tied = model.config().tied;
    let model = if adapters.iter().any(|(stored, _)| stored.unties(&model)) { model.untied() } else { model };
    adapters.iter().try_for_each(|(stored, _)| stored.check(&model, tied))?;
    replace(adapters, model, tied)
}

fn install(
    model: CausalLm,
    config: Option<LoraConfig>,
    mut factors: BTreeMap<String, Factors>,
    dropout: f64,
) -> Result<CausalLm, CheckpointError> {
    let device = model.device();
    model.replace_adapters(config, |name, _| {
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

/// An adapter on disk.
pub(super) struct Stored {
    pub config: AdapterConfig,
    pub tensors: AdapterTensors,
}

impl Stored {
    fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let config = AdapterConfig::read(dir)?;
        let tensors = AdapterTensors::open(dir, config.format)?;
        Ok(Self { config, tensors })
    }

    /// Whether the head of `model`, which is the embedding, and the embedding part with this adapter: one of them alone is
    /// added to, or trained as a whole.
    fn unties(&self, model: &CausalLm) -> bool {
        if !model.config().tied {
            return false;
        }
        let embedding = places(model.config())("model.embed_tokens.weight").tensor;
        let table = module_of(&embedding);
        let has = |tensor: &str| self.tensors.find(tensor).is_some();
        let saved = |tensor: &str| has(tensor) && self.config.saves(module_of(tensor));
        has("lm_head.lora_A.weight")
            || has(&format!("{table}.lora_embedding_A"))
            || (!self.config.ties && (saved(HEAD) || saved(&embedding)))
    }

    /// Checks that all tensors have their place in `model`, whose head was the embedding if `tied`.
    fn check(&self, model: &CausalLm, tied: bool) -> Result<(), CheckpointError> {
        let place = places(model.config());
        let modules = modules(model);
        let mut extra: BTreeSet<&str> = self.tensors.names().collect();
        let count = extra.len();
        let mut take = |name: &str| {
            if let Some(name) = self.tensors.find(name) {
                extra.remove(name);
            }
        };
        for module in &modules {
            names(&module.name).iter().for_each(|name| take(name));
        }
        for info in params(model).iter().filter(|info| info.role != Role::Adapter) {
            let tensor = place(&info.name).tensor;
            take(&tensor);
            if matches!(info.role, Role::Embedding | Role::Head) {
                let table = module_of(&tensor);
                for kind in ["lora_embedding_A", "lora_embedding_B", TOKEN_ROWS] {
                    take(&format!("{table}.{kind}"));
                }
            }
        }
        if tied {
            take(HEAD);
        }
        if extra.is_empty() && count > 0 {
            return Ok(());
        }
        let linears = modules.iter().take(3).map(|module| format!("{PREFIX}{}", module.name)).collect();
        let (path, count) = (self.tensors.path().to_owned(), extra.len());
        let names = extra.into_iter().take(3).map(|name| self.tensors.in_file(name).to_owned()).collect();
        Err(CheckpointError::NoPlaceForAdapter { path, count, names, linears })
    }

    /// The adapters of our linear layers.
    fn factors(&self, model: &CausalLm) -> Result<BTreeMap<String, Factors>, CheckpointError> {
        let mut all = BTreeMap::new();
        for module in modules(model) {
            if names(&module.name).iter().any(|name| self.tensors.find(name).is_some()) {
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
        let [a, b, magnitude] = names(&module.name);
        let rank = self.config.rank_of(&module.name);
        let read = |name: &str, shape: &[usize]| self.tensors.read(name, shape);
        let magnitude = if self.config.dora { Some(read(&magnitude, &[module.rows])?) } else { None };
        Ok(Factors {
            rank,
            scale: self.config.scale_of(&module.name),
            a: read(&a, &[rank, module.columns])?,
            b: read(&b, &[module.rows, rank])?,
            magnitude,
        })
    }
}

/// The names of both factors and the magnitude of a module.
fn names(module: &str) -> [String; 3] {
    ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"].map(|kind| format!("{module}.{kind}"))
}

/// The module of a weight.
pub(super) fn module_of(tensor: &str) -> &str {
    tensor.strip_suffix(".weight").unwrap_or(tensor)
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
