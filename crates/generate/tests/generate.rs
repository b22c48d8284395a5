//! Generation against plain loops over uncached forward passes, on small models with random weights.

use std::ops::ControlFlow;

use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_data::{Corpus, CorpusOptions, Tokenizer, TokenizerKind, TokenizerSection};
use llm_generate::{
    ContextOverflow, Engine, Event, FinishReason, GenerateError, Generation, Generator, Options, Sampler, Sampling,
};
use llm_model::{CausalLm, Family, LoraConfig, ModelSection, RopeScaling, named_params, replace_params};

const CONTEXT: usize = 24;

/// A byte tokenizer: 256 bytes and the end of the text.
fn bytes() -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    std::fs::write(&path, "a").unwrap();
    let section = TokenizerSection { kind: TokenizerKind::Byte, ..TokenizerSection::default() };
    Tokenizer::train(&section, &Corpus::open(&[path], CorpusOptions::default()).unwrap()).unwrap()
}

fn section(family: Family) -> ModelSection {
    ModelSection {
        family,
        context_length: CONTEXT,
        hidden_size: 32,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: (family != Family::Gpt2).then_some(2),
        ..ModelSection::default()
    }
}

fn model(family: Family) -> CausalLm {
    CausalLm::new(&section(family).resolve(257).unwrap(), &Device::flex()).initialize(7)
}

/// Models whose past is forgotten or looks different at some length: a window, and LongRoPE. Their matrices are ten times
/// the initial ones, so that attention matters.
fn changing() -> [CausalLm; 2] {
    let longrope = RopeScaling::LongRope {
        short_factors: vec![1.0, 1.1, 1.3, 2.0],
        long_factors: vec![3.0, 5.0, 9.0, 20.0],
        original_context_length: CONTEXT / 2,
        attention_factor: 1.2,
    };
    [
        ModelSection { sliding_window: Some(5), num_layers: 7, ..section(Family::Gemma3) },
        ModelSection { rope_scaling: Some(longrope), ..section(Family::Phi3) },
    ]
    .map(|section| {
        let model = CausalLm::new(&section.resolve(257).unwrap(), &Device::flex()).initialize(7);
        let mut matrices = std::collections::BTreeMap::new();
        named_params(&model, &mut |info, data| {
            if info.shape.len() == 2 {
                let values: Vec<f32> = data.iter::<f32>().map(|x| 10.0 * x).collect();
                matrices.insert(info.name.clone(), TensorData::new(values, info.shape.clone()));
            }
        });
        replace_params(model, &mut |info| Ok::<_, ()>(matrices.remove(&info.name).map(Into::into))).unwrap()
    })
}

fn families() -> Vec<CausalLm> {
    [model(Family::Gpt2), model(Family::Llama)].into_iter().chain(changing()).collect()
}

/// Bytes are drawn from nearly all of them.
fn lively() -> Sampling {
    Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 11, ..Sampling::default() }
}

fn run(model: &CausalLm, prompt: &[u32], options: &Options) -> Result<Generation, GenerateError> {
    let tokenizer = bytes();
    Generator::new(model, &tokenizer, &Device::flex()).generate(prompt, options, &mut |_| ControlFlow::Continue(()))
}

/// The same ids without cache and chunks; `window` says which tokens the model sees.
fn reference(model: &CausalLm, prompt: &[u32], options: &Options, window: impl Fn(&[u32]) -> Vec<u32>) -> Vec<u32> {
    let mut sampler = Sampler::new(options.sampling, options.sample).unwrap();
    let mut ids = prompt.to_vec();
    for _ in 0..options.max_tokens {
        let seen: Vec<i64> = window(&ids).iter().map(|&id| i64::from(id)).collect();
        let data = TensorData::new(seen.clone(), [1, seen.len()]);
        let logits = model.forward(Tensor::<2, Int>::from_data(data, &Device::flex()), None);
        let last = logits.narrow(1, seen.len() - 1, 1).try_into_vec_as::<f32>().unwrap();
        ids.push(sampler.sample(&last, &ids).unwrap());
    }
    ids.split_off(prompt.len())
}

#[test]
fn cache_and_chunks_change_nothing() {
    for model in families() {
        let prompt: Vec<u32> = "Once upon".bytes().map(u32::from).collect();
        for sampling in [Sampling::greedy(), lively(), Sampling { repeat_penalty: 1.3, ..Sampling::default() }] {
            let options = Options { sampling, max_tokens: 14, ignore_eos: true, ..Options::default() };
            let expected = reference(&model, &prompt, &options, <[u32]>::to_vec);
            for prefill_chunk in [1, 4, 512] {
                let got = run(&model, &prompt, &Options { prefill_chunk, ..options.clone() }).unwrap();
                assert_eq!(got.ids, expected);
                assert_eq!(got.finish_reason, FinishReason::Length);
            }
        }
    }
}

#[test]
fn a_sliding_context_goes_on_with_its_newer_half() {
    for model in families() {
        let options = Options {
            sampling: lively(),
            max_tokens: 60,
            ignore_eos: true,
            context_overflow: ContextOverflow::Slide,
            prefill_chunk: 5,
            ..Options::default()
        };
        // A window grows to the context, and then starts again from the newest half.
        let window = |ids: &[u32]| {
            let mut start = 0;
            while ids.len() - start > CONTEXT {
                start += CONTEXT / 2 + 1;
            }
            ids[start..].to_vec()
        };
        let expected = reference(&model, &[72, 105], &options, window);
        assert_eq!(run(&model, &[72, 105], &options).unwrap().ids, expected);
    }
}

#[test]
fn a_sliding_context_keeps_the_token_that_begins_the_text() {
    let model = model(Family::Llama);
    let sampling = lively();
    let options = Options { sampling, max_tokens: CONTEXT + 1, ignore_eos: true, ..Options::default() };
    let options = Options { context_overflow: ContextOverflow::Slide, ..options };
    let window = |ids: &[u32]| {
        if ids.len() <= CONTEXT { ids.to_vec() } else { [&[256], &ids[ids.len() - CONTEXT / 2 + 1..]].concat() }
    };
    assert_eq!(run(&model, &[256], &options).unwrap().ids, reference(&model, &[256], &options, window));
}

#[test]
fn a_full_context_stops() {
    let options = Options { sampling: lively(), max_tokens: 100, ignore_eos: true, ..Options::default() };
    let got = run(&model(Family::Gpt2), &[72, 105], &options).unwrap();
    assert_eq!(got.finish_reason, FinishReason::Context);
    // The last one is drawn from the full context.
    assert_eq!(got.ids.len(), CONTEXT - 2 + 1);
}

#[test]
fn samples_share_the_prompt_but_not_the_random_numbers() {
    let (model, tokenizer) = (model(Family::Llama), bytes());
    let mut generator = Generator::new(&model, &tokenizer, &Device::flex());
    let mut sample = |sample| {
        let options = Options { sampling: lively(), sample, max_tokens: 10, ignore_eos: true, ..Options::default() };
        generator.generate(&[1, 2, 3, 4], &options, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    let [first, second, again] = [sample(0), sample(1), sample(0)];
    assert_ne!(first.ids, second.ids);
    assert_eq!(first.ids, again.ids);
    assert_eq!([first, second, again].map(|g| g.timings.cached_tokens), [0, 3, 3]);
}

#[test]
fn the_next_turn_of_a_chat_reads_its_new_tokens_only() {
    for model in families() {
        let tokenizer = bytes();
        let mut generator = Generator::new(&model, &tokenizer, &Device::flex());
        let options = Options { sampling: lively(), max_tokens: 4, ignore_eos: true, ..Options::default() };
        let mut text: Vec<u32> = vec![72, 105];
        // Each turn is longer than the cache was made for.
        for turn in 0..3 {
            let made = generator.generate(&text, &options, &mut |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(made.ids, run(&model, &text, &options).unwrap().ids, "turn {turn}");
            // The last token that was drawn has not been read yet. Where LongRoPE switches, all keys change.
            let held = text.len().saturating_sub(3);
            let switches = model.config().rotary_switch().is_some_and(|switch| held <= switch && switch < text.len());
            assert_eq!(made.timings.cached_tokens, if turn == 0 || switches { 0 } else { held });
            text.extend(&made.ids);
            text.extend([10, 65]);
        }
    }
}

#[test]
fn further_tokens_end_the_text() {
    let model = model(Family::Gpt2);
    let options = Options { sampling: lively(), max_tokens: 20, ..Options::default() };
    let whole = run(&model, &[65], &options).unwrap().ids;
    let end = whole[7];
    let made = run(&model, &[65], &Options { ends: vec![end], ..options.clone() }).unwrap();
    let before = whole.iter().position(|&id| id == end).unwrap();
    assert_eq!((made.ids.as_slice(), made.finish_reason), (&whole[..before], FinishReason::EndOfText));
    let ignored = Options { ends: vec![end], ignore_eos: true, ..options };
    assert!(run(&model, &[65], &ignored).unwrap().ids.contains(&end));
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let model = model(Family::Gpt2);
    let options = Options { sampling: lively(), max_tokens: 20, ignore_eos: true, ..Options::default() };
    let whole = run(&model, &[65], &options).unwrap().text;
    let characters: Vec<char> = whole.chars().collect();
    // Each character is a token of its own or several, so that two of them always cross a border.
    let stop: String = characters[6..9].iter().collect();
    let before = &whole[..whole.find(&stop).unwrap()];
    let mut shown = String::new();
    let tokenizer = bytes();
    let mut generator = Generator::new(&model, &tokenizer, &Device::flex());
    let options = Options { stop: vec!["never".into(), stop], ..options };
    let stopped = generator.generate(&[65], &options, &mut |event| {
        if let Event::Text(text) = event {
            shown += text;
        }
        ControlFlow::Continue(())
    });
    let stopped = stopped.unwrap();
    assert_eq!((stopped.text.as_str(), stopped.finish_reason), (before, FinishReason::Stop));
    assert_eq!(shown, before);
}

#[test]
fn what_is_shown_is_the_text_of_the_ids() {
    let (model, tokenizer) = (model(Family::Gpt2), bytes());
    let mut generator = Generator::new(&model, &tokenizer, &Device::flex());
    for sample in 0..20 {
        let (mut shown, mut drawn) = (String::new(), Vec::new());
        let options = Options {
            sampling: lively(),
            sample,
            max_tokens: 22,
            stop: vec!["\u{FFFD}~".into()],
            ..Options::default()
        };
        let made = generator.generate(&[65], &options, &mut |event| {
            match event {
                Event::Text(text) => shown += text,
                Event::Token(id) => drawn.push(id),
                Event::Prefilled { .. } => {}
            }
            ControlFlow::Continue(())
        });
        let made = made.unwrap();
        assert_eq!(shown, made.text);
        assert_eq!(drawn, made.ids);
        if made.finish_reason != FinishReason::Stop {
            assert_eq!(shown, tokenizer.decode(&made.ids).unwrap());
        }
    }
}

#[test]
fn an_end_of_text_token_ends_the_text() {
    let (model, tokenizer) = (model(Family::Gpt2), bytes());
    let mut generator = Generator::new(&model, &tokenizer, &Device::flex());
    let mut ended = 0;
    for sample in 0..60 {
        let options = Options { sampling: lively(), sample, max_tokens: 20, ..Options::default() };
        let made = generator.generate(&[65], &options, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(!made.ids.contains(&256));
        assert_eq!(made.finish_reason == FinishReason::EndOfText, made.ids.len() < 20);
        ended += usize::from(made.finish_reason == FinishReason::EndOfText);
    }
    assert!(ended > 0, "20 · 60 draws from 257 tokens never gave the last one");
}

#[test]
fn the_receiver_may_break_off() {
    let (model, tokenizer) = (model(Family::Gpt2), bytes());
    let mut generator = Generator::new(&model, &tokenizer, &Device::flex());
    let options = Options { sampling: lively(), prefill_chunk: 2, ignore_eos: true, ..Options::default() };
    let mut tokens = 0;
    let after_three = generator.generate(&[65, 66, 67], &options, &mut |event| {
        tokens += usize::from(matches!(event, Event::Token(_)));
        if tokens == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let after_three = after_three.unwrap();
    assert_eq!((after_three.ids.len(), after_three.finish_reason), (3, FinishReason::Cancelled));
    assert_eq!(after_three.text, tokenizer.decode(&after_three.ids).unwrap());
    let at_once = generator.generate(&[70, 71, 72], &options, &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!((at_once.ids.len(), at_once.finish_reason), (0, FinishReason::Cancelled));
    // What was broken off leaves a cache that the next text can use.
    let [next, fresh] = [
        generator.generate(&[70, 71, 72], &options, &mut |_| ControlFlow::Continue(())).unwrap(),
        run(&model, &[70, 71, 72], &options).unwrap(),
    ];
    assert_eq!(next.ids, fresh.ids);
}

#[test]
fn prompts_that_cannot_be_read_are_errors() {
    let model = model(Family::Gpt2);
    let error = |prompt: &[u32], options: &Options| run(&model, prompt, options).unwrap_err();
    let default = Options::default();
    assert!(matches!(error(&[], &default), GenerateError::EmptyPrompt));
    assert!(matches!(error(&[257], &default), GenerateError::UnknownId { id: 257, vocab_size: 257 }));
    let long = [65; CONTEXT + 1];
    assert!(matches!(error(&long, &default), GenerateError::PromptTooLong { tokens: 25, context: CONTEXT }));
    assert!(run(&model, &long, &Options { context_overflow: ContextOverflow::Slide, ..default.clone() }).is_ok());
    assert!(matches!(error(&[1], &Options { stop: vec![String::new()], ..default }), GenerateError::EmptyStop));
}

#[test]
fn tokens_that_the_model_lacks_are_refused_only_where_they_stand_in_the_prompt() {
    let section = ModelSection { hidden_size: 8, num_heads: 2, ..ModelSection::default() };
    let small = CausalLm::new(&section.resolve(100).unwrap(), &Device::flex()).initialize(1);
    let options = Options { max_tokens: 4, ignore_eos: true, ..Options::default() };
    assert_eq!(run(&small, &[1], &options).unwrap().ids.len(), 4);
    let error = run(&small, &[1, 100], &options).unwrap_err();
    assert!(matches!(error, GenerateError::UnknownId { id: 100, vocab_size: 100 }), "{error}");
}

#[test]
fn a_stop_string_may_name_a_special_token() {
    let (model, tokenizer) = (model(Family::Gpt2), bytes());
    let stop = vec![tokenizer.token(256).unwrap()];
    let mut stopped = 0;
    for sample in 0..60 {
        let free = Options { sampling: lively(), sample, max_tokens: 20, ignore_eos: true, ..Options::default() };
        let whole = run(&model, &[65], &free).unwrap();
        let made = run(&model, &[65], &Options { stop: stop.clone(), ..free }).unwrap();
        let Some(end) = whole.ids.iter().position(|&id| id == 256) else {
            assert_eq!((made.text, made.finish_reason), (whole.text, FinishReason::Length));
            continue;
        };
        assert_eq!((made.ids.as_slice(), made.finish_reason), (&whole.ids[..=end], FinishReason::Stop));
        // An unfinished character before it is not shown.
        let before = tokenizer.decode(&whole.ids[..end]).unwrap();
        let finished = |text: &str| text.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned();
        assert!(before.starts_with(&made.text) && finished(&made.text) == finished(&before), "{before:?}");
        stopped += 1;
    }
    assert!(stopped > 0, "20 · 60 draws from 257 tokens never gave the last one");
}

/// Texts that differ in prompt, sampling, length and in what they do at the end of the context.
fn requests() -> Vec<(Vec<u32>, Options)> {
    let options = Options { sampling: lively(), max_tokens: 14, ignore_eos: true, ..Options::default() };
    let slides = Options { context_overflow: ContextOverflow::Slide, max_tokens: 40, ..options.clone() };
    let prompt = |text: &str| text.bytes().map(u32::from).collect();
    vec![
        (prompt("Once upon"), Options { sampling: Sampling::greedy(), ..options.clone() }),
        (prompt("A"), options.clone()),
        (prompt("The dog chased the"), Options { max_tokens: 3, prefill_chunk: 4, ..options.clone() }),
        (prompt("Once upon a time"), Options { sample: 1, ..slides.clone() }),
        (prompt("Longer than the context of these models"), Options { sample: 2, prefill_chunk: 7, ..slides }),
        (prompt("One"), Options { max_tokens: 0, ..options }),
    ]
}

/// The ids of `requests`, generated together; each is admitted after as many steps as `starts` says.
fn together(model: &CausalLm, requests: &[(Vec<u32>, Options)], starts: &[usize]) -> Vec<Vec<u32>> {
    let tokenizer = bytes();
    let mut engine = Engine::new(model, &tokenizer, &Device::flex(), 2);
    let (mut names, mut texts) = (Vec::new(), vec![None; requests.len()]);
    let mut streamed = vec![Vec::new(); requests.len()];
    for step in 0.. {
        for (i, (prompt, options)) in requests.iter().enumerate().filter(|(i, _)| starts[*i] == step) {
            names.push((engine.admit(prompt, options.clone()).unwrap(), i));
        }
        let place = |id| names.iter().find(|(name, _)| *name == id).unwrap().1;
        let ended = engine.step(&mut |id, event| {
            if let Event::Token(token) = event {
                streamed[place(id)].push(token);
            }
            ControlFlow::Continue(())
        });
        for (id, generation) in ended.unwrap() {
            texts[place(id)] = Some(generation.unwrap().ids);
        }
        if engine.is_idle() && starts.iter().all(|start| *start <= step) {
            break;
        }
    }
    let texts: Vec<Vec<u32>> = texts.into_iter().map(Option::unwrap).collect();
    assert_eq!(texts, streamed);
    texts
}

#[test]
fn texts_are_the_same_together_and_alone() {
    let lora = LoraConfig { alpha: 64.0, ..LoraConfig::default() };
    let adapted = model(Family::Llama).with_lora(&lora, 5).unwrap();
    let mut wave = 0.0f32;
    let adapted = replace_params(adapted, &mut |info| {
        let values = (0..info.len()).map(|_| {
            wave += 0.7;
            wave.sin() * 0.3
        });
        let data = TensorData::new(values.collect::<Vec<f32>>(), info.shape.clone());
        Ok::<_, ()>(info.name.ends_with("lora_b").then(|| data.into()))
    });
    let requests = requests();
    for model in families().into_iter().chain([adapted.unwrap()]) {
        let alone: Vec<_> =
            requests.iter().map(|(prompt, options)| run(&model, prompt, options).unwrap().ids).collect();
        for starts in [[0; 6], [0, 1, 2, 3, 4, 5], [9, 0, 0, 4, 0, 1], [0, 20, 20, 0, 30, 60]] {
            assert_eq!(together(&model, &requests, &starts), alone, "{:?}, {starts:?}", model.config().family);
        }
    }
}

#[test]
fn a_text_that_is_cancelled_leaves_the_others_alone() {
    let (model, tokenizer) = (model(Family::Llama), bytes());
    let requests = requests();
    let alone = run(&model, &requests[0].0, &requests[0].1).unwrap();
    let mut engine = Engine::new(&model, &tokenizer, &Device::flex(), 1);
    let kept = engine.admit(&requests[0].0, requests[0].1.clone()).unwrap();
    let from_outside = engine.admit(&requests[1].0, requests[1].1.clone()).unwrap();
    let by_receiver = engine.admit(&requests[3].0, requests[3].1.clone()).unwrap();
    let mut ended = Vec::new();
    for step in 0.. {
        let emit =
            &mut |id, _: Event| if id == by_receiver { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        ended.extend(engine.step(emit).unwrap().into_iter().map(|(id, generation)| (id, generation.unwrap())));
        if step == 4 {
            let cancelled = engine.cancel(from_outside).unwrap().unwrap();
            assert_eq!((cancelled.ids.len(), cancelled.finish_reason), (5, FinishReason::Cancelled));
            assert_eq!(engine.cancel(from_outside).unwrap(), None);
        }
        if engine.is_idle() {
            break;
        }
    }
    let [first, second] = &ended[..] else { panic!("{} texts ended", ended.len()) };
    assert_eq!((first.0, first.1.finish_reason, first.1.ids.len()), (by_receiver, FinishReason::Cancelled, 0));
    assert_eq!((second.0, &second.1.ids, &second.1.text), (kept, &alone.ids, &alone.text));
}
