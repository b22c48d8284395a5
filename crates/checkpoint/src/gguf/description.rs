//! What a family's page says of its GGUF files ([`Architecture`]), and the two ways between the metadata of such a file and the
//! keys of a `config.json` ([`Reading`], [`Writing`]). Names are those of
//! <https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py>.

use std::collections::BTreeMap;

use llm_gguf::{Array, Value};
use llm_model::ModelConfig;
use serde_json::{Map, Value as Json, json};

use super::file::GgufFile;
use crate::CheckpointError;
use crate::keys::{GgufKeys, JsonKeys};

/// Tokens that a windowed layer attends to.
pub(crate) const WINDOW: &str = "attention.sliding_window";
/// Which layers have a window.
const PATTERN: &str = "attention.sliding_window_pattern";
/// The tensor of divisors of rotary frequencies.
pub(super) const ROPE_FREQS: &str = "rope_freqs.weight";
/// The two sets of such divisors of LongRoPE.
pub(crate) const LONG_FACTORS: &str = "rope_factors_long.weight";
pub(crate) const SHORT_FACTORS: &str = "rope_factors_short.weight";
/// Tensors that are settings and not weights.
pub(super) const SETTINGS: [&str; 3] = [ROPE_FREQS, LONG_FACTORS, SHORT_FACTORS];

/// How a family is stored in a GGUF file: an architecture of llama.cpp that this program computes too.
pub(crate) struct Architecture {
    /// `general.architecture`, and the first part of its keys.
    pub name: &'static str,
    /// The key, not 0, by which the family is told from another one of the same name.
    pub mark: Option<&'static str>,
    /// Sizes that must be there, and their keys in `config.json`.
    pub sizes: &'static [(&'static str, &'static str)],
    /// What is added to a variance, and its key in `config.json`.
    pub epsilon: (&'static str, &'static str),
    /// Keys of `config.json` with the one value that llama.cpp computes.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Whether positions are rotated.
    pub rotary: bool,
    /// Rotated pairs lie side by side in queries and keys, and not half a head apart.
    pub interleaved: bool,
    /// Linear weights are `(in, out)` in a Hugging Face checkpoint.
    pub transposed: bool,
    /// Weights of norms have 1 added.
    pub shifted_norms: bool,
    /// Reads what this architecture has alone.
    pub read: fn(&mut Reading) -> Result<(), CheckpointError>,
    /// Writes what this architecture has alone.
    pub write: fn(&mut Writing) -> Result<(), CheckpointError>,
    /// What comes before the number of a block in a Hugging Face checkpoint.
    pub blocks: &'static str,
    /// Modules of a block but those of `norms`: the checkpoint's name, and the one in GGUF.
    pub block: &'static [(&'static str, &'static str)],
    /// Norms of a block before and after attention and the feed-forward network, likewise.
    pub norms: &'static [(&'static str, &'static str)],
    /// Modules outside the blocks.
    pub around: &'static [(&'static str, &'static str)],
}

impl Architecture {
    /// What most architectures share: the names of Llama, half-split heads, no window.
    pub const PLAIN: Self = Self {
        name: "",
        mark: None,
        sizes: &[
            ("block_count", "num_hidden_layers"),
            ("context_length", "max_position_embeddings"),
            ("embedding_length", "hidden_size"),
            ("feed_forward_length", "intermediate_size"),
            ("attention.head_count", "num_attention_heads"),
        ],
        epsilon: ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
        fixed: &[("hidden_act", "silu")],
        rotary: true,
        interleaved: false,
        transposed: false,
        shifted_norms: false,
        read: |_| Ok(()),
        write: |writing| writing.refuse_window(),
        blocks: "model.layers",
        block: &[
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_norm", "attn_q_norm"),
            ("self_attn.k_norm", "attn_k_norm"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ],
        norms: &[("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")],
        around: &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")],
    };

    /// All modules of a block.
    fn of_block(&self) -> impl Iterator<Item = &(&'static str, &'static str)> {
        self.block.iter().chain(self.norms)
    }

    /// The checkpoint's name of a tensor in GGUF, if it has one.
    pub fn checkpoint_name(&self, gguf: &str) -> Option<String> {
        let (module, kind) = gguf.rsplit_once('.')?;
        if let Some((name, _)) = self.around.iter().find(|(_, theirs)| *theirs == module) {
            return Some(format!("{name}.{kind}"));
        }
        let (i, module) = module.strip_prefix("blk.")?.split_once('.')?;
        let (name, _) = self.of_block().find(|(_, theirs)| *theirs == module)?;
        Some(format!("{}.{i}.{name}.{kind}", self.blocks))
    }

    /// The name in GGUF of a checkpoint's tensor, if it has one.
    pub fn gguf_name(&self, checkpoint: &str) -> Option<String> {
        let (module, kind) = checkpoint.rsplit_once('.')?;
        if let Some((_, name)) = self.around.iter().find(|(theirs, _)| *theirs == module) {
            return Some(format!("{name}.{kind}"));
        }
        let (i, module) = module.strip_prefix(self.blocks)?.strip_prefix('.')?.split_once('.')?;
        let (_, name) = self.of_block().find(|(theirs, _)| *theirs == module)?;
        Some(format!("blk.{i}.{name}.{kind}"))
    }
}

/// A file on its way into the keys of a `config.json`.
pub(crate) struct Reading<'a> {
    pub file: &'a GgufFile,
    pub keys: GgufKeys<'a>,
    architecture: &'static Architecture,
    /// The keys so far.
    config: Map<String, Json>,
    /// The file's names of those of them that it has alone.
    origins: BTreeMap<String, String>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(file: &'a GgufFile, architecture: &'static Architecture) -> Self {
        Self { file, keys: file.keys(), architecture, config: Map::new(), origins: BTreeMap::new() }
    }

    /// The keys of a `config.json` that the file means.
    pub(super) fn finish(self) -> JsonKeys {
        JsonKeys::new(self.file.path(), self.config).made_from(self.origins)
    }

    /// A key of this architecture.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture.name)
    }

    /// Sets a key of `config.json`.
    pub fn set(&mut self, key: &str, value: impl Into<Json>) {
        self.config.insert(key.to_owned(), value.into());
    }

    /// Sets a key of `config.json` to the value of a key of this architecture: errors speak of the latter.
    pub fn set_from(&mut self, key: &str, name: &str, value: impl Into<Json>) {
        self.origins.insert(key.to_owned(), self.key(name));
        self.set(key, value);
    }

    /// Whether the file has a tensor.
    pub fn has(&self, tensor: &str) -> bool {
        self.file.info(tensor).is_some()
    }

    /// A size that has been read already.
    pub fn known(&self, key: &str) -> usize {
        self.config.get(key).and_then(Json::as_u64).map_or(1, |size| size as usize)
    }

    /// Reads a window that all layers have, or none, where 0 is none.
    pub fn read_window(&mut self) -> Result<Option<usize>, CheckpointError> {
        let window = self.keys.count(&self.key(WINDOW))?.filter(|&window| window > 0);
        self.set_from("sliding_window", WINDOW, window);
        Ok(window)
    }

    /// Reads a window that some layers have: where nothing is written, all but every `interval`th.
    pub fn read_windows(&mut self, interval: usize) -> Result<(), CheckpointError> {
        let layers = self.known("num_hidden_layers");
        let expected = format!("a whole number, or a list of {layers} truth values");
        let windowed = self.keys.typed(&self.key(PATTERN), &expected, |value| match value {
            Value::Array(Array::Bool(windowed)) if windowed.len() == layers => Some(windowed.clone()),
            value => Some(all_but_every(layers, value.as_u64()? as usize)),
        })?;
        let windowed = windowed.unwrap_or_else(|| all_but_every(layers, interval));
        let window = self.read_window()?;
        let kind = |windowed| if windowed && window.is_some() { "sliding_attention" } else { "full_attention" };
        self.set("layer_types", windowed.into_iter().map(kind).collect::<Vec<_>>());
        Ok(())
    }
}

/// Which layers have a window, where every `interval`th has none; 0 is none that has none.
fn all_but_every(layers: usize, interval: usize) -> Vec<bool> {
    (1..=layers).map(|layer| interval == 0 || !layer.is_multiple_of(interval)).collect()
}

/// The keys of a `config.json` on their way into a file. Each must be written or left out by name: what is left over is an
/// error, so that no setting is lost.
pub(crate) struct Writing<'a> {
    pub config: &'a ModelConfig,
    pub architecture: &'static Architecture,
    /// What is yet to be written.
    pub values: Map<String, Json>,
    pub metadata: Vec<(String, Value)>,
    /// Tensors that are settings and not weights.
    pub tensors: Vec<(&'static str, Vec<f32>)>,
    /// What llama.cpp will not do.
    pub notes: Vec<String>,
}

impl Writing<'_> {
    /// Takes a key, if it is there and not null.
    pub fn take(&mut self, key: &str) -> Option<Json> {
        self.values.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Takes a key that the family always writes.
    pub fn required(&mut self, key: &str) -> Result<Json, CheckpointError> {
        self.take(key).ok_or_else(|| refused(format!("its configuration has no {key}")))
    }

    /// Sets a key of this architecture.
    pub fn put(&mut self, key: &str, value: Value) {
        self.metadata.push((format!("{}.{key}", self.architecture.name), value));
    }

    /// Leaves out which layers have a window, which is said otherwise.
    fn drop_layers(&mut self) {
        self.values
            .retain(|key, _| !["use_sliding_window", "max_window_layers", "layer_types"].contains(&key.as_str()));
    }

    /// Takes the window of an architecture that has none in GGUF.
    pub fn refuse_window(&mut self) -> Result<(), CheckpointError> {
        if let Some(window) = self.take("sliding_window") {
            let name = self.architecture.name;
            return Err(refused(format!("sliding_window is {window}, but GGUF has none for {name}")));
        }
        self.drop_layers();
        Ok(())
    }

    /// Writes the window that all layers have, which llama.cpp does not know of; gives it, if there is one.
    pub fn put_unknown_window(&mut self) -> Result<Option<Json>, CheckpointError> {
        let window = self.take("sliding_window");
        if let Some(window) = &window {
            self.put(WINDOW, unsigned("sliding_window", window)?);
            let note =
                format!("llama.cpp has no sliding window for this architecture: beyond {window} tokens it differs");
            self.notes.push(note);
        }
        self.drop_layers();
        Ok(window)
    }

    /// Writes the window that some layers have, if any.
    pub fn put_windows(&mut self) -> Result<(), CheckpointError> {
        let window = self.take("sliding_window");
        if self.config.sliding_window.is_some() {
            let windowed = (0..self.config.num_layers).map(|layer| self.config.window(layer).is_some()).collect();
            self.put(WINDOW, unsigned("sliding_window", &json!(window))?);
            self.put(PATTERN, Value::Array(Array::Bool(windowed)));
        }
        self.drop_layers();
        Ok(())
    }
}

/// The error of what GGUF has no place for.
pub(crate) fn refused(what: impl Into<String>) -> CheckpointError {
    CheckpointError::NotGguf(what.into())
}

/// A whole number of `config.json` as GGUF has them.
pub(crate) fn unsigned(key: &str, value: &Json) -> Result<Value, CheckpointError> {
    let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
    number.map(Value::U32).ok_or_else(|| refused(format!("{key} is {value}")))
}

/// A number of `config.json` as GGUF has them.
pub(crate) fn float(key: &str, value: &Json) -> Result<Value, CheckpointError> {
    value.as_f64().map(|x| Value::F32(x as f32)).ok_or_else(|| refused(format!("{key} is {value}")))
}
