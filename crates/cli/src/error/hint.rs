//! What to do about an error of a library, in the terms of the command line: only here, its advice gets the names of flags.

use llm_checkpoint::Advice as OfCheckpoint;
use llm_data::Advice as OfData;
use llm_eval::Advice as OfEval;
use llm_generate::Advice as OfGenerate;
use llm_train::Advice as OfTrain;

pub fn data(advice: OfData) -> String {
    const LOSSY: &str = "`--lossy` of train, eval and data prepare replaces it by U+FFFD";
    match advice {
        OfData::NameFiles => "name files or folders, for example --data my.txt".into(),
        OfData::ShorterContext { tokens } => {
            format!("use more text or a context of at most {tokens}, for example --set model.context_length={tokens}")
        }
        OfData::MoreValidation => "give more text with --valid".into(),
        OfData::LongerText => "give a longer text with --data".into(),
        OfData::OtherFiles => {
            "give other files with --data or --valid, or omit --valid to hold out a share of the text".into()
        }
        OfData::ValidationShare => "--set data.valid_fraction=0.1, or name files with --valid".into(),
        OfData::MoreTextOrValidation => "use more text, or name validation files with --valid".into(),
        OfData::LongerSamples => {
            "samples that are too long fit with a larger --max-length (of llm eval: --context), up to \
                                  the model's context; llm data check shows what is wrong with each"
                .into()
        }
        OfData::TrainOnText { file } => format!(
            "samples are .jsonl and .json files, also with .gz or .zst; to train on plain text: llm train --model MODEL \
             --data {file}"
        ),
        OfData::FinetuneOnSamples { file } => {
            format!("these are samples, to fine-tune on: llm finetune --model MODEL --data {file}")
        }
        OfData::TextKey => "--text-key NAME selects another key".into(),
        OfData::ReplaceNul => format!("is this a text file? {LOSSY}"),
        OfData::ReplaceInvalid { encoding, dropped_by } => {
            format!("the rest seems to be {encoding}; {LOSSY}; to drop it: {dropped_by}")
        }
        OfData::First(advice) => format!("for the first: {}", data(*advice)),
    }
}

pub fn checkpoint(advice: OfCheckpoint) -> String {
    match advice {
        OfCheckpoint::FreeSpace => "free some space; a training run continues with --resume".into(),
        OfCheckpoint::NameBase => {
            "this is an adapter: give the model that it belongs to, and this folder with --adapter-path".into()
        }
        OfCheckpoint::NameModel => {
            "a model directory has config.json, model.safetensors and tokenizer.json; train one with `llm train`".into()
        }
        OfCheckpoint::KeepPrecision => "train without --quantize".into(),
        OfCheckpoint::MergeAdapter => "merge it into its model with `llm merge`".into(),
        OfCheckpoint::Data(advice) => data(advice),
    }
}

pub fn generate(advice: OfGenerate) -> String {
    match advice {
        OfGenerate::SlideContext => "shorten it, or use --context-overflow slide to keep its end".into(),
        OfGenerate::SaveConversation => {
            "expected a file as /save writes it: {\"messages\": [{\"role\": \"user\", \"content\": \"…\"}, …]}".into()
        }
        OfGenerate::Data(advice) => data(advice),
    }
}

pub fn eval(advice: OfEval) -> String {
    match advice {
        OfEval::OneKind => "measure one kind at a time; --text-key KEY reads .jsonl files as texts".into(),
        OfEval::ShorterStride { context } => format!("use --stride {context} or less"),
        OfEval::Data(advice) => data(advice),
        OfEval::Checkpoint(advice) => checkpoint(advice),
        OfEval::Generate(advice) => generate(advice),
    }
}

pub fn train(advice: OfTrain) -> String {
    match advice {
        OfTrain::NameText => "name one with --data".into(),
        OfTrain::WritableFolder => "--out must name a writable folder".into(),
        OfTrain::OtherFolder => "choose another folder with --out".into(),
        OfTrain::TrainFurther { dir } => format!(
            "the model in {0} still works; continue training it with llm train --model {0} --data … --out …, or start a \
             new run with another --out",
            dir.display()
        ),
        OfTrain::NewPlace => {
            "if it was moved, name its new place with --data (or --valid); relative paths start at the \
                              current folder"
                .into()
        }
        OfTrain::BeginRun => "omit --resume to start one, or name its folder with --out".into(),
        OfTrain::ResumeRun => "resume it with --resume, or start another run with another --out".into(),
        OfTrain::Precision { supported } => format!("use --precision {supported}"),
        OfTrain::SmallerModel => {
            "use a smaller model, for example with --set model.num_layers or model.hidden_size; `llm plan` \
                                  shows what takes memory"
                .into()
        }
        OfTrain::Data(advice) => data(advice),
        OfTrain::Checkpoint(advice) => checkpoint(advice),
    }
}
