//! When two samples say the same.

use serde_json::Value;

use super::render::is_answer;
use super::{Chat, Content};

/// Equal for samples that say exactly the same, whatever form they were written in.
pub(super) fn sample_key(content: &Content) -> u64 {
    let mut hasher = blake3::Hasher::new();
    update(&mut hasher, content);
    number(&hasher)
}

/// Equal for samples that ask the same, but for case, punctuation and white space: what stands before the last answer.
/// `None` where nothing is asked.
pub(super) fn prompt_key(content: &Content) -> Option<u64> {
    let prompt = match content {
        Content::Text(_) => return None,
        Content::Completion { prompt, .. } => prompt.clone(),
        Content::Chat(Chat { messages, .. }) => {
            let last = messages.iter().rposition(is_answer).unwrap_or(messages.len());
            messages[..last].iter().filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join("\n")
        }
        Content::Preference { chosen, .. } => return prompt_key(chosen),
    };
    let letters = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let words: Vec<String> = prompt.split_whitespace().map(letters).filter(|word: &String| !word.is_empty()).collect();
    let mut hasher = blake3::Hasher::new();
    words.iter().for_each(|word| text(&mut hasher, word));
    (!words.is_empty()).then(|| number(&hasher))
}

fn update(hasher: &mut blake3::Hasher, content: &Content) {
    match content {
        Content::Text(all) => text(hasher, all),
        Content::Completion { prompt, completion } => {
            hasher.update(b"c");
            text(hasher, prompt);
            text(hasher, completion);
        }
        Content::Chat(chat) => {
            hasher.update(b"m");
            chat.messages.iter().for_each(|message| text(hasher, &message.to_string()));
            text(hasher, &Value::from(chat.tools.clone()).to_string());
        }
        Content::Preference { chosen, rejected, .. } => {
            hasher.update(b"p");
            update(hasher, chosen);
            update(hasher, rejected);
        }
    }
}

fn text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

fn number(hasher: &blake3::Hasher) -> u64 {
    let hash = hasher.finalize();
    hash.as_bytes()[..8].iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
