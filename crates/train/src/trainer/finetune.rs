use std::sync::Arc;

use burn::module::Module;
use llm_checkpoint::own_targets;
use llm_data::{
    BatchSampler, PreferenceSampler, Prepared, SampleSampler, Split, TokenizedPair, TokenizedPairs, TokenizedSample,
    TokenizedSamples, Tokenizer, row_length,
};
use llm_model::{CausalLm, LoraConfig, ModelConfig};

use super::directory::check_directory;
use super::open::{check_memory, check_precision};
use super::product::Product;
use super::{PreferenceSource, RunOptions, SampleSource, Settings, Source, TextSource, Trainer};
use crate::{ConfigFile, FinetuneConfig, Learner, Method, SampleSection, TrainError};

/// A model to fine-tune, with what it takes to do so.
#[derive(Debug)]
pub struct Finetuning {
    /// How.
    pub config: FinetuneConfig,
    /// The model, on an autodiff device.
    pub model: CausalLm,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// The run.
    pub options: RunOptions,
}

impl Finetuning {
    /// Checks settings, device and run directory, before the model is loaded and anything is computed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(config: &FinetuneConfig, model: &ModelConfig, options: &RunOptions) -> Result<(), TrainError> {
        config.validate()?;
        let all = config.finetune.method_for(model) == Method::Full;
        let bytes = match config.finetune.quantize {
            _ if all => 8.0, // gradients too
            Some(quantize) => quantize.bits() / 8.0,
            None => 4.0,
        };
        check_memory(model.parameters() * bytes)?;
        check_precision(config.train.precision, &options.device, &options.device_name)?;
        check_directory(config, options)
    }

    /// A trainer on samples.
    ///
    /// # Errors
    /// Samples that there are none of, adapters that do not fit the model, and what there is to resume.
    pub fn on_samples(self, samples: TokenizedSamples) -> Result<Trainer<SampleSource>, TrainError> {
        let (data, train) = (&self.config.data, &self.config.train);
        let (rows, ranks, pad) = (train.micro_batch_size(), train.accumulation() as u32, pad_id(&self.tokenizer));
        let most = data.limits(self.model.config().context_length).max_length;
        let length = |samples: &[TokenizedSample]| row_length(samples.iter().map(|sample| sample.ids.len()), most);
        let of_train = length(&samples.train);
        let of_valid = of_train.max(length(&samples.valid));
        let sampler = |samples, length| SampleSampler::new(samples, rows, length, ranks, data.packing, pad);
        let train = sampler(samples.train, of_train)?;
        let valid = if samples.valid.is_empty() { None } else { Some(sampler(samples.valid, of_valid)?) };
        let source = SampleSource { tokenizer: self.tokenizer.clone(), train, valid };
        self.begin(source)
    }

    /// A trainer on preferences.
    ///
    /// # Errors
    /// As [`Self::on_samples`].
    pub fn on_preferences(self, pairs: TokenizedPairs) -> Result<Trainer<PreferenceSource>, TrainError> {
        let (data, train) = (&self.config.data, &self.config.train);
        let (rows, ranks, pad) = (train.micro_batch_size(), train.accumulation() as u32, pad_id(&self.tokenizer));
        let most = data.limits(self.model.config().context_length).max_length;
        let max_length = row_length(pairs.train.iter().map(TokenizedPair::longest), most);
        let sampler = |pairs| PreferenceSampler::new(pairs, rows, ranks, pad);
        let source = PreferenceSource {
            tokenizer: self.tokenizer.clone(),
            train: sampler(pairs.train)?,
            valid: if pairs.valid.is_empty() { None } else { Some(sampler(pairs.valid)?) },
            max_length,
            section: Arc::new(self.config.preference.clone()),
            // Frozen weights are shared.
            reference: Arc::new(self.model.valid()),
        };
        self.begin(source)
    }

    /// A trainer on plain text, in windows.
    ///
    /// # Errors
    /// A text of less than two tokens, adapters that do not fit the model, and what there is to resume.
    pub fn on_text(self, split: Split) -> Result<Trainer<TextSource>, TrainError> {
        let train = &self.config.train;
        // One window at least, of what there is and the last token's target.
        let tokens = usize::try_from(split.train.len()).unwrap_or(usize::MAX);
        let time = self.config.window(self.model.config().context_length).min(tokens.saturating_sub(1)).max(1);
        let (rows, ranks) = (train.micro_batch_size(), train.accumulation() as u32);
        let sampler = BatchSampler::new(split.train.clone(), rows, time, ranks)?;
        let data = Prepared { tokenizer: self.tokenizer.clone(), split, cached: false };
        self.begin(TextSource { data, sampler, time })
    }

    fn begin<S: Source>(self, source: S) -> Result<Trainer<S>, TrainError> {
        let Self { config, model, options, .. } = self;
        let text = config.to_toml()?;
        let FinetuneConfig { finetune, lora, train, optimizer, schedule, eval, .. } = config;
        let base = finetune.model.clone();
        let (model, product) = match finetune.method_for(model.config()) {
            Method::Lora | Method::Dpo => {
                let lora = LoraConfig { target_modules: own_targets(&lora.target_modules, &model), ..lora };
                (model.with_lora(&lora, train.seed)?, Product::Adapter { base })
            }
            Method::Head => (model.freeze_below(finetune.layers), Product::Finetuned),
            Method::Full => (model, Product::Finetuned),
        };
        let device = options.device.clone().autodiff();
        let learner = Learner::new(model, &device, &optimizer, train.precision, train.seed);
        let learner = learner.with_recompute(train.recompute);
        // Answers are compared at the end, by the one who knows the chat template.
        let sample = SampleSection { tokens: 0, ..SampleSection::default() };
        let settings = Settings { train, optimizer, schedule, eval, sample };
        Trainer::begin(settings, &text, options, source, product, learner)
    }
}

/// An id to fill rows with; what it is does not matter.
fn pad_id(tokenizer: &Tokenizer) -> u32 {
    tokenizer.eos_ids().first().copied().unwrap_or(0)
}
