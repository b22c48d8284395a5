//! Writes a tiny random model of every published family and of their variants, each with a tokenizer, to hold them
//! against `transformers`:
//!
//! ```text
//! cargo run --release -p llm-checkpoint --example tiny_models -- /tmp/tiny
//! python3 scripts/check_transformers.py /tmp/tiny/*
//! ```
//!
//! A second argument gives all of them one kind of tokenizer. With `bpe`, llama.cpp splits texts as they do:
//!
//! ```text
//! cargo run --release -p llm-checkpoint --example tiny_models -- /tmp/tiny bpe
//! python3 scripts/check_llama_cpp.py --llm target/release/llm /tmp/tiny/*
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use llm_checkpoint::{published_type, save_model};
use llm_data::{Corpus, CorpusOptions, Tokenizer, TokenizerKind, TokenizerSection};
use llm_model::{
    CausalLm, Family, FeedForwardKind, ModelConfig, ModelSection, ParamInfo, Position, Role, RopeScaling, Rotary,
    replace_params,
};

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: tiny_models DIR [KIND]")?;
    let tales = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/tales/valid.txt");
    let corpus = Corpus::open(&[tales], CorpusOptions::default())?;
    let kinds = match std::env::args().nth(2) {
        Some(kind) => vec![kind.parse()?],
        None => vec![TokenizerKind::Bpe, TokenizerKind::Word, TokenizerKind::Byte, TokenizerKind::Char],
    };
    let train = |kind| Tokenizer::train(&TokenizerSection { kind, vocab_size: 512, ..Default::default() }, &corpus);
    let tokenizers = kinds.into_iter().map(train).collect::<Result<Vec<_>, _>>()?;
    for (i, (name, section, change)) in variants().into_iter().enumerate() {
        let tokenizer = &tokenizers[i % tokenizers.len()];
        let mut config = section.resolve(tokenizer.vocab_size())?;
        change(&mut config);
        config.validate()?;
        let published = published_type(&config).ok_or_else(|| format!("{name} has no published type"))?;
        save_model(&out.join(name), &random(&config, i as u64), tokenizer)?;
        println!("{name}: {published}, {} tokens", tokenizer.vocab_size());
    }
    Ok(())
}

/// A name, a section, and what no section says.
type Variant = (&'static str, ModelSection, fn(&mut ModelConfig));

fn variants() -> Vec<Variant> {
    let base = |family| ModelSection {
        family,
        context_length: 64,
        hidden_size: 32,
        num_layers: 3,
        num_kv_heads: (family != Family::Gpt2).then_some(2),
        ..ModelSection::default()
    };
    let [gpt2, llama, qwen2, qwen3] = [Family::Gpt2, Family::Llama, Family::Qwen2, Family::Qwen3].map(base);
    let llama3 =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context_length: 32 };
    let longrope = RopeScaling::LongRope {
        short_factors: vec![1.0, 1.1, 1.3, 2.0],
        long_factors: vec![1.5, 2.0, 3.0, 5.0],
        original_context_length: 16,
        attention_factor: 1.1,
    };
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        original_context_length: 16,
        beta_fast: 4.0,
        beta_slow: 0.5,
        truncate: false,
        attention_factor: Some(1.25),
    };
    let dynamic = RopeScaling::Dynamic { factor: 4.0, original_context_length: 16 };
    let (window, yes) = (Some(8), Some(true));
    let biased = ModelSection { qkv_bias: yes, attention_output_bias: yes, mlp_bias: yes, ..llama.clone() };
    let plain: [(&str, ModelSection); 18] = [
        ("gpt2", gpt2.clone()),
        ("gpt2-gelu", ModelSection { feed_forward: Some(FeedForwardKind::Gelu), ..gpt2.clone() }),
        ("gpt2-relu2-untied", ModelSection { feed_forward: Some(FeedForwardKind::Relu2), tied: Some(false), ..gpt2 }),
        ("llama", llama.clone()),
        ("llama-tied-geglu", ModelSection { feed_forward: Some(FeedForwardKind::GeGlu), tied: yes, ..llama.clone() }),
        ("llama-biases-llama3", ModelSection { rope_scaling: Some(llama3), head_dim: Some(16), ..biased }),
        ("llama-linear", ModelSection { rope_scaling: Some(RopeScaling::Linear { factor: 4.0 }), ..llama.clone() }),
        ("llama-dynamic", ModelSection { rope_scaling: Some(dynamic), ..llama }),
        ("qwen2-yarn", ModelSection { rope_scaling: Some(yarn), ..qwen2.clone() }),
        ("mistral", ModelSection { sliding_window: window, ..base(Family::Mistral) }),
        ("qwen2", qwen2.clone()),
        ("qwen3", ModelSection { head_dim: Some(16), ..qwen3.clone() }),
        ("smollm3", ModelSection { num_layers: 5, sliding_window: window, ..base(Family::SmolLm3) }),
        ("smollm3-no-window", ModelSection { num_layers: 5, ..base(Family::SmolLm3) }),
        ("olmo2", base(Family::Olmo2)),
        ("gemma3", ModelSection { num_layers: 7, sliding_window: window, ..base(Family::Gemma3) }),
        ("phi3", ModelSection { sliding_window: window, ..base(Family::Phi3) }),
        ("phi3-longrope", ModelSection { rope_scaling: Some(longrope), ..base(Family::Phi3) }),
    ];
    let unchanged: fn(&mut ModelConfig) = |_| ();
    let mut all: Vec<Variant> = plain.into_iter().map(|(name, section)| (name, section, unchanged)).collect();
    all.extend([
        (
            "qwen2-window",
            ModelSection { sliding_window: window, ..qwen2 },
            (|config| {
                config.windowed_layers = vec![2];
            }) as fn(&mut ModelConfig),
        ),
        ("qwen3-window", ModelSection { sliding_window: window, tied: yes, ..qwen3 }, |config| {
            config.windowed_layers = vec![0, 2];
        }),
        ("gemma3-scalar", base(Family::Gemma3), |config| config.query_pre_attn_scalar = Some(24)),
        ("phi3-partial", base(Family::Phi3), |config| {
            config.position = Position::Rotary(Rotary { width: Some(6), ..Rotary::new(1e4) });
        }),
    ]);
    all
}

/// A model whose every tensor is random, so that no forgotten bias or norm weight goes unnoticed, and large enough for
/// attention to be far from uniform.
fn random(config: &ModelConfig, seed: u64) -> CausalLm {
    let mut state = seed;
    let mut unit = move || {
        // SplitMix64 (Steele et al., 2014)
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    };
    let mut value = |info: &ParamInfo| {
        let centre = if info.role == Role::Norm { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..info.len()).map(|_| centre + 0.7 * (unit() - 0.5)).collect();
        Ok::<_, std::convert::Infallible>(Some(TensorData::new(values, info.shape.clone()).into()))
    };
    match replace_params(CausalLm::new(config, &Device::flex()), &mut value) {
        Ok(model) => model,
        Err(never) => match never {},
    }
}
