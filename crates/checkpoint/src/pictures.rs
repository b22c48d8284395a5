//! Models of text and images, whose text part alone is read: the names of its tensors.

/// Modules that only pictures and sounds pass through.
const OTHERS: [&str; 8] = [
    "vision_tower",
    "vision_model",
    "visual",
    "multi_modal_projector",
    "mm_projector",
    "embed_vision",
    "audio_tower",
    "embed_audio",
];

/// The name that a tensor has in a model that is the text part alone; `None` where it belongs to another part. Names of models
/// of text stay as they are.
pub(crate) fn text_name(name: &str) -> Option<String> {
    let outer = name.strip_prefix("model.").unwrap_or(name);
    if outer.split('.').next().is_some_and(|module| OTHERS.contains(&module)) {
        return None;
    }
    // `language_model.model.layers.0` as published, `model.language_model.layers.0` since transformers 5.
    Some(match outer.strip_prefix("language_model.") {
        Some(inner) if inner.starts_with("model.") || inner.starts_with("lm_head.") => inner.to_owned(),
        Some(inner) => format!("model.{inner}"),
        None => name.to_owned(),
    })
}

/// Whether a tensor says by its name that its model has other parts than text.
pub(crate) fn is_within_other(name: &str) -> bool {
    name.starts_with("language_model.") || name.starts_with("model.language_model.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_text_part_are_those_of_a_model_of_text() {
        for (name, expected) in [
            ("language_model.model.layers.0.mlp.up_proj.weight", Some("model.layers.0.mlp.up_proj.weight")),
            ("model.language_model.layers.0.mlp.up_proj.weight", Some("model.layers.0.mlp.up_proj.weight")),
            ("model.language_model.model.norm.weight", Some("model.norm.weight")),
            ("language_model.lm_head.weight", Some("lm_head.weight")),
            ("lm_head.weight", Some("lm_head.weight")),
            ("model.embed_tokens.weight", Some("model.embed_tokens.weight")),
            ("transformer.wte.weight", Some("transformer.wte.weight")),
            ("vision_tower.vision_model.embeddings.patch_embedding.weight", None),
            ("model.vision_tower.vision_model.head.bias", None),
            ("multi_modal_projector.mm_input_projection_weight", None),
        ] {
            assert_eq!(text_name(name).as_deref(), expected, "{name}");
        }
    }
}
