//! What a model answers to the questions of samples, by the likeliest token each time.

use std::ops::ControlFlow;

use llm_data::{TokenizedSample, Tokenizer};
use llm_generate::{Generator, Options, Sampling};

use crate::EvalError;

/// The last question of a sample, with all that stands before it, and its answer.
#[derive(Debug)]
pub struct Question<'a> {
    /// Tokens that are given.
    pub prompt: &'a [u32],
    /// Tokens of the answer, the end included.
    pub answer: &'a [u32],
}

/// What a model answers to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The answer of the sample, without space around it.
    pub expected: String,
    /// That of the model.
    pub given: String,
}

impl Answer {
    /// Whether both are the same, word by word.
    pub fn is_exact(&self) -> bool {
        self.given == self.expected
    }
}

impl<'a> Question<'a> {
    /// The last tokens of a sample that are learned in a row, after those before. Of a sample that is learned as a
    /// whole, a text, some tokens are given.
    pub fn of(sample: &'a TokenizedSample) -> Self {
        Self::asked(sample).unwrap_or_else(|| {
            let end = end(sample);
            let (prompt, answer) = sample.ids[..end].split_at(end.div_ceil(2).min(16));
            Self { prompt, answer }
        })
    }

    /// As [`of`](Self::of); `None` for a sample that is learned as a whole.
    pub fn asked(sample: &'a TokenizedSample) -> Option<Self> {
        let end = end(sample);
        let given = sample.trained[..end].iter().rposition(|&trained| !trained)?;
        // A token before all the others only begins a text.
        let (prompt, answer) = sample.ids[..end].split_at(given + 1);
        (given > 0).then_some(Self { prompt, answer })
    }

    /// What the model says, at most `tokens` tokens, up to one of `stops`.
    ///
    /// # Errors
    /// Those of [`Generator::generate`].
    pub fn ask(&self, generator: &mut Generator, stops: &[u32], tokens: usize) -> Result<String, EvalError> {
        likeliest(generator, self.prompt, stops, tokens)
    }

    /// The same beside the answer of the sample, both without space around them.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    pub fn check(
        &self,
        generator: &mut Generator,
        tokenizer: &Tokenizer,
        stops: &[u32],
        tokens: usize,
    ) -> Result<Answer, EvalError> {
        let given = self.ask(generator, stops, tokens)?.trim().to_owned();
        Ok(Answer { expected: tokenizer.decode(self.answer)?.trim().to_owned(), given })
    }
}

/// Where the last token that is learned ends.
fn end(sample: &TokenizedSample) -> usize {
    sample.trained.iter().rposition(|&trained| trained).map_or(sample.trained.len(), |last| last + 1)
}

/// What follows the tokens `prompt` by the likeliest token each time: at most `tokens` tokens, up to one of `stops`.
///
/// # Errors
/// Those of [`Generator::generate`].
pub fn likeliest(generator: &mut Generator, prompt: &[u32], stops: &[u32], tokens: usize) -> Result<String, EvalError> {
    let options = Options {
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        max_tokens: tokens,
        ends: stops.to_vec(),
        ..Options::default()
    };
    Ok(generator.generate(prompt, &options, &mut |_| ControlFlow::Continue(()))?.text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use llm_data::Origin;

    use super::*;

    #[test]
    fn the_last_answer_is_asked_for() {
        let question = |trained: &str| {
            let trained: Vec<bool> = trained.chars().map(|c| c == 'x').collect();
            let origin = Origin { file: Path::new("a.jsonl").into(), line: 1 };
            let sample = TokenizedSample { ids: (0..trained.len() as u32).collect(), trained, origin };
            let Question { prompt, answer } = Question::of(&sample);
            (prompt.len(), answer.to_vec())
        };
        assert_eq!(question("..xx..xxx."), (6, vec![6, 7, 8]));
        assert_eq!(question("...xx"), (3, vec![3, 4]));
        assert_eq!(question(".xxxx"), (3, vec![3, 4])); // a text behind its first token
        assert_eq!(question(&"x".repeat(100)).0, 16);
    }

    #[test]
    fn nothing_is_asked_by_a_text() {
        let asked = |trained: &str| {
            let trained: Vec<bool> = trained.chars().map(|c| c == 'x').collect();
            let origin = Origin { file: Path::new("a.jsonl").into(), line: 1 };
            let sample = TokenizedSample { ids: (0..trained.len() as u32).collect(), trained, origin };
            Question::asked(&sample).is_some()
        };
        assert_eq!([asked(".xxxx"), asked("xxxx"), asked("..xx"), asked("..xx.")], [false, false, true, true]);
    }
}
