use indicatif::ProgressBar;
use llm_data::{Progress, Stage};

use crate::printer::Printer;

/// Shows how far the preparation of a text is: one bar for each stage, gone when the next begins or this is dropped.
pub struct PreparationBar {
    printer: Printer,
    shown: Option<(Stage, ProgressBar)>,
}

impl PreparationBar {
    /// Shows nothing until there is progress.
    pub fn new(printer: Printer) -> Self {
        Self { printer, shown: None }
    }

    /// What `llm_data` calls with its progress.
    pub fn update(&mut self, progress: Progress) {
        match progress {
            Progress::Stage { stage, done, total } => self.stage(stage, done, total),
            Progress::Note(note) => {
                self.clear();
                self.printer.data_note(&note);
            }
        }
    }

    fn stage(&mut self, stage: Stage, done: u64, total: u64) {
        if self.shown.as_ref().is_none_or(|(shown, _)| *shown != stage) {
            self.clear();
            let bar = self.printer.bytes_bar(total);
            bar.set_message(match stage {
                Stage::Scan => "reading",
                Stage::TrainTokenizer => "training tokenizer",
                Stage::Encode => "tokenizing",
            });
            self.shown = Some((stage, bar));
        }
        if let Some((_, bar)) = &self.shown {
            bar.set_position(done);
        }
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.shown.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for PreparationBar {
    fn drop(&mut self) {
        self.clear();
    }
}
