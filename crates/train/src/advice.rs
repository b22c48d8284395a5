//! What kind of help there is.

use std::path::PathBuf;

/// Help for an error in the terms of whoever asks: its words depend on how the program is used, so that the one that shows the
/// error finds them. Help that is the same for all stands in the error's text, after `hint: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Name a text.
    NameText,
    /// Name a folder for the run that can be written.
    WritableFolder,
    /// Name another folder for the run.
    OtherFolder,
    /// Train the model of a run further, or start the run again in another folder.
    TrainFurther {
        /// The run directory.
        dir: PathBuf,
    },
    /// Say where the text is now.
    NewPlace,
    /// Begin a run instead of resuming one, or name its folder.
    BeginRun,
    /// Resume the run, or begin another one in another folder.
    ResumeRun,
    /// Compute in a number type that the device has.
    Precision {
        /// The first of them.
        supported: &'static str,
    },
    /// Train a smaller model; a plan says what takes how much.
    SmallerModel,
    /// Use other data.
    Data(llm_data::Advice),
    /// Use other files of a model.
    Checkpoint(llm_checkpoint::Advice),
}
