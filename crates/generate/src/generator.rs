use std::ops::ControlFlow;

use burn::tensor::Device;
use llm_data::Tokenizer;
use llm_model::CausalLm;

use crate::{Engine, Event, GenerateError, Generation, Options};

/// A model and its tokenizer, ready to generate one text after the other: an [`Engine`] of one.
///
/// What a new prompt has in common with the text before is not computed again, as for further samples of one prompt or the
/// next turn of a chat.
#[derive(Debug)]
pub struct Generator<'a>(Engine<'a>);

impl<'a> Generator<'a> {
    /// `device` is where the model's weights are, without autodiff.
    pub fn new(model: &'a CausalLm, tokenizer: &'a Tokenizer, device: &Device) -> Self {
        Self(Engine::new(model, tokenizer, device, 1))
    }

    /// Generates after the tokens `prompt` until one of the ends that `options` name. `emit` is told what happens, and
    /// may break off.
    ///
    /// # Errors
    /// Options that make no sense, a prompt that is empty, too long or of another vocabulary, and logits that are no
    /// numbers.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &Options,
        emit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Generation, GenerateError> {
        self.0.admit(prompt, options.clone())?;
        loop {
            let ended = self.0.step(&mut |_, event| emit(event))?;
            if let Some((_, generation)) = ended.into_iter().next() {
                return generation;
            }
        }
    }
}
