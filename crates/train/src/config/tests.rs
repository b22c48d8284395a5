use super::*;

fn error(text: &str) -> String {
    match RunConfig::parse(text, "my.toml").and_then(|config| config.validate()) {
        Ok(()) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn unknown_keys_name_the_file_and_the_nearest_key() {
    assert_eq!(
        error("[optimizer]\nlearning_rat = 1"),
        "my.toml: unknown key optimizer.learning_rat\nhint: the keys are kind, lr, muon_lr, betas, eps, momentum, \
         nesterov, weight_decay, grad_clip"
    );
    let cases = [
        ("[train]\nbatchsize = 4", "train.batchsize", "train.batch_size"),
        ("[trian]\nseed = 4", "trian", "train"),
        ("[model.dropout]\nresidul = 0.1", "model.dropout.residul", "model.dropout.residual"),
        ("[model]\nhidden_size = 8\nnum_layer = 2", "model.num_layer", "model.num_layers"),
    ];
    for (text, key, near) in cases {
        assert_eq!(error(text), format!("my.toml: unknown key {key}\nhint: did you mean {near}?"));
    }
}

#[test]
fn wrong_values_name_the_key() {
    for (text, key) in [
        ("[train]\nseed = 1\nbatch_size = \"many\"", "train.batch_size"),
        ("[optimizer]\nkind = \"adamax\"", "optimizer.kind"),
        ("[model]\ndropout = [3]", "model.dropout"),
        ("train = 3", "train"),
    ] {
        let message = error(text);
        assert!(message.starts_with(&format!("my.toml: {key} ")), "{message}");
    }
    assert!(error("[train]\nseed = = 1").contains("line 2"));
}

#[test]
fn values_out_of_range_name_key_value_and_rule() {
    let cases = [
        ("[train]\nbatch_size = 0", "train.batch_size is 0, but must be at least 1"),
        ("[train]\nbatch_size = 2000000", "train.batch_size is 2000000, but must be at most 1,048,576"),
        (
            "[train]\nmax_steps = 9000000000000000000",
            "train.max_steps is 9000000000000000000, but must be at most 10^12",
        ),
        ("[optimizer]\nlr = -1.0", "optimizer.lr is -1, but must be a positive number"),
        ("[optimizer]\nbetas = [0.9, 1.0]", "optimizer.betas[1] is 1, but must lie in [0, 1)"),
        ("[schedule]\nmin_lr_ratio = 2.0", "schedule.min_lr_ratio is 2, but must lie in [0, 1]"),
        ("[sample]\ntemperature = -1.0", "sample.temperature is -1, but must not be negative"),
        ("[eval]\nwindows = 0", "eval.windows is 0, but must be at least 1"),
        (
            "[train]\nbatch_size = 8\nmicro_batch_size = 3",
            "train.batch_size = 8 is not a multiple of train.micro_batch_size = 3\nhint: change one of them",
        ),
        (
            "[train]\nmax_steps = 8\nepochs = 3.0",
            "train.max_steps and train.epochs are both set\nhint: keep one of them",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn what_is_written_reads_back() -> Result<(), RunConfigError> {
    let mut config = RunConfig::default();
    config.set("data.paths", "[\"a.txt\", \"b\"]")?;
    config.set("model.rope_scaling", "{ kind = \"linear\", factor = 4.0 }")?;
    config.set("train.epochs", "2.5")?;
    assert_eq!(RunConfig::parse(&config.to_toml()?, "again")?, config);
    assert_eq!(RunConfig::parse("", "empty")?, RunConfig::default());
    Ok(())
}

#[test]
fn overrides_are_typed_and_bare_words_are_strings() -> Result<(), RunConfigError> {
    let mut config = RunConfig::default();
    config.set("optimizer.lr", "1")?;
    config.set("optimizer.kind", "muon")?;
    config.set("model.dropout.residual", "0.2")?;
    config.set("model.qk_norm", "true")?;
    config.set("sample.prompt", "Once upon a time")?;
    assert!((config.optimizer.lr - 1.0).abs() < f64::EPSILON);
    assert_eq!(config.optimizer.kind, crate::OptimizerKind::Muon);
    assert!((config.model.dropout.residual - 0.2).abs() < f64::EPSILON);
    assert_eq!(config.model.qk_norm, Some(true));
    assert_eq!(config.sample.prompt, "Once upon a time");

    let message = |key: &str, value: &str| match RunConfig::default().set(key, value) {
        Ok(()) => panic!("accepted {key}={value}"),
        Err(error) => error.to_string(),
    };
    assert_eq!(message("lr", "1"), "lr=1: unknown key lr\nhint: did you mean optimizer.lr?");
    assert_eq!(
        message("optimiser.lr", "1"),
        "optimiser.lr=1: unknown key optimiser.lr\nhint: did you mean optimizer.lr?"
    );
    assert_eq!(message("train.sede", "1"), "train.sede=1: unknown key train.sede\nhint: did you mean train.seed?");
    assert_eq!(message("train.seed.x", "1"), "train.seed.x=1: train.seed.x cannot be set: seed is 1337, not a table");
    Ok(())
}

#[test]
fn the_length_is_said_in_steps_or_in_epochs_whichever_came_last() -> Result<(), RunConfigError> {
    let mut config = RunConfig::parse("[train]\nmax_steps = 600", "my.toml")?;
    config.set("train.epochs", "3")?;
    assert_eq!((config.train.max_steps, config.train.epochs), (None, Some(3.0)));
    config.set("train.max_steps", "7")?;
    assert_eq!((config.train.max_steps, config.train.epochs), (Some(7), None));
    config.validate()
}

#[test]
fn a_resumed_run_may_change_its_length_but_not_its_model() -> Result<(), RunConfigError> {
    let saved = RunConfig::default();
    let mut now = saved.clone();
    now.set("train.max_steps", "5")?;
    now.set("sample.prompt", "x")?;
    now.check_resume(&saved)?;
    now.set("model.hidden_size", "64")?;
    let message = now.check_resume(&saved).map_or_else(|error| error.to_string(), |()| String::new());
    assert!(message.starts_with("model.hidden_size was 128 when the run started and is 64 now\nhint: "), "{message}");
    Ok(())
}

#[test]
fn samples_may_be_one_path_or_several() -> Result<(), RunConfigError> {
    // As a run wrote it when it could have one only; it can be resumed.
    let old = FinetuneConfig::parse("[data]\npath = \"a.jsonl\"\nvalid_fraction = 0.1", "old")?;
    assert_eq!(old.data.paths, [std::path::PathBuf::from("a.jsonl")]);
    let again = FinetuneConfig::parse(&old.to_toml()?, "again")?;
    again.check_resume(&old)?;
    let mut several = FinetuneConfig::default();
    several.set("data.path", "b.jsonl")?;
    assert_eq!(several.data.paths, [std::path::PathBuf::from("b.jsonl")]);
    several.set("data.paths", "[\"a.jsonl\", \"b\"]")?;
    assert_eq!(several.data.paths.len(), 2);
    // The samples may have moved, which their hash tells; the share that is set aside may not change.
    assert!(matches!(
        several.check_resume(&old),
        Err(RunConfigError::ChangedOnResume { key, .. }) if key == "data.valid_fraction"
    ));
    several.set("data.valid_fraction", "0.1")?;
    several.check_resume(&old)?;
    Ok(())
}
