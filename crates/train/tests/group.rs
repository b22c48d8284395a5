//! Two threads as the processes of a group: the run is the one that one process makes alone, bit for bit.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use burn::tensor::Device;
use llm_train::{
    Alone, ConfigFile, Ending, Event, Group, GroupError, Outcome, RunConfig, RunOptions, TrainError, Trainer,
};
use serde_json::Value;

/// Where the threads of a group meet.
#[derive(Debug)]
struct Meeting {
    barrier: Barrier,
    numbers: Mutex<Vec<Vec<f64>>>,
}

#[derive(Debug)]
struct Thread {
    rank: usize,
    meeting: Arc<Meeting>,
}

impl Thread {
    fn pair() -> [Arc<dyn Group>; 2] {
        let meeting = Arc::new(Meeting { barrier: Barrier::new(2), numbers: Mutex::new(vec![Vec::new(); 2]) });
        [0, 1].map(|rank| Arc::new(Self { rank, meeting: meeting.clone() }) as Arc<dyn Group>)
    }

    /// The numbers of all threads, by rank.
    fn exchange(&self, own: Vec<f64>) -> Vec<Vec<f64>> {
        self.meeting.numbers.lock().unwrap()[self.rank] = own;
        self.meeting.barrier.wait();
        let all = self.meeting.numbers.lock().unwrap().clone();
        self.meeting.barrier.wait();
        assert_eq!(all[0].len(), all[1].len(), "threads at different places");
        all
    }
}

impl Group for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        2
    }

    fn sum(&self, values: &mut [f32]) -> Result<(), GroupError> {
        let all = self.exchange(values.iter().map(|x| f64::from(*x)).collect());
        for (i, value) in values.iter_mut().enumerate() {
            *value = all[0][i] as f32 + all[1][i] as f32;
        }
        Ok(())
    }

    fn sum_numbers(&self, numbers: &mut [f64]) -> Result<(), GroupError> {
        let all = self.exchange(numbers.to_vec());
        for (i, number) in numbers.iter_mut().enumerate() {
            *number = all[0][i] + all[1][i];
        }
        Ok(())
    }
}

struct Sandbox(tempfile::TempDir);

impl Sandbox {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let line = |i: u32| format!("The {} cat sees dog number {}.\n", i % 7, i * i % 31);
        std::fs::write(dir.path().join("text.txt"), (0..400).map(line).collect::<String>()).unwrap();
        Self(dir)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self, overrides: &[(&str, &str)]) -> RunConfig {
        let quoted = |name: &str| format!("{:?}", self.out(name).display().to_string());
        let mut config = RunConfig::default();
        let own = [("data.paths", format!("[{}]", quoted("text.txt"))), ("data.cache_dir", quoted("cache"))];
        let base = [
            ("tokenizer.kind", "char"),
            ("model.hidden_size", "16"),
            ("model.num_layers", "2"),
            ("model.num_heads", "2"),
            ("model.context_length", "16"),
            ("train.batch_size", "4"),
            ("train.micro_batch_size", "2"),
            ("train.max_steps", "14"),
            ("train.checkpoint_every", "5"),
            ("eval.every", "4"),
            ("eval.windows", "6"),
            ("optimizer.lr", "0.01"),
        ];
        let all = own.iter().map(|(key, value)| (*key, value.as_str())).chain(base).chain(overrides.iter().copied());
        all.for_each(|(key, value)| config.set(key, value).unwrap());
        config
    }

    /// Makes the run `name` with one process for each of `groups`. The last one is told to stop after `stop_after` steps.
    fn run(
        &self,
        name: &str,
        config: &RunConfig,
        groups: &[Arc<dyn Group>],
        resume: bool,
        stop_after: Option<u64>,
    ) -> Result<Vec<Outcome>, TrainError> {
        let open = |group: &Arc<dyn Group>| {
            let options = RunOptions {
                out: self.out(name),
                resume,
                tensorboard: false,
                device: Device::flex(),
                device_name: "cpu".into(),
                group: group.clone(),
            };
            Trainer::open(config.clone(), options, &mut |_| ())
        };
        let trainers = groups.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let last = trainers.len() - 1;
        thread::scope(|scope| {
            let run = |(i, trainer): (usize, Trainer<_>)| {
                scope.spawn(move || {
                    let stop = AtomicBool::new(false);
                    let told = stop_after.filter(|_| i == last);
                    let on_event = &mut |event: Event| {
                        if let Event::Step(record) = event {
                            stop.store(told.is_some_and(|step| record.step >= step), Ordering::Relaxed);
                        }
                    };
                    trainer.run(on_event, &stop)
                })
            };
            let runs: Vec<_> = trainers.into_iter().enumerate().map(run).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        })
    }
}

/// The lines of the metrics without times and memory.
fn metrics(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("training/metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        for key in ["tokens_per_s", "flops_utilization", "peak_rss_mib", "seconds"] {
            value.as_object_mut().unwrap().remove(key);
        }
        value
    };
    text.lines().map(line).collect()
}

fn assert_same(one: &Path, other: &Path, what: &str) {
    assert_eq!(metrics(one), metrics(other), "{what}");
    let weights = |out: &Path| std::fs::read(out.join("model.safetensors")).unwrap();
    assert!(weights(one) == weights(other), "{what}: weights");
    let checkpoint = |out: &Path| {
        let (_, path) = llm_checkpoint::latest_training(out).unwrap().unwrap();
        ["model.safetensors", "optimizer.safetensors"].map(|file| std::fs::read(path.join(file)).unwrap())
    };
    assert!(checkpoint(one) == checkpoint(other), "{what}: checkpoint");
}

#[test]
fn two_processes_are_one_with_twice_the_micro_batches() {
    let sandbox = Sandbox::new();
    for (kind, recompute) in [("adamw", "false"), ("muon", "true")] {
        let config = sandbox.config(&[("optimizer.kind", kind), ("train.recompute", recompute)]);
        let [alone, group] = [format!("{kind}-alone"), format!("{kind}-group")];
        sandbox.run(&alone, &config, &[Arc::new(Alone)], false, None).unwrap();
        let outcomes = sandbox.run(&group, &config, &Thread::pair(), false, None).unwrap();
        assert_same(&sandbox.out(&alone), &sandbox.out(&group), kind);
        assert_eq!(outcomes[0].loss, outcomes[1].loss, "{kind}");

        // Told to stop in one process, and resumed by another number of them.
        let stopped = format!("{kind}-stopped");
        let outcomes = sandbox.run(&stopped, &config, &Thread::pair(), false, Some(7)).unwrap();
        assert!(outcomes.iter().all(|outcome| (outcome.ending, outcome.step) == (Ending::Interrupted, 7)));
        sandbox.run(&stopped, &config, &[Arc::new(Alone)], true, Some(9)).unwrap();
        sandbox.run(&stopped, &config, &Thread::pair(), true, None).unwrap();
        assert_same(&sandbox.out(&alone), &sandbox.out(&stopped), &stopped);
    }
}

#[test]
fn micro_batches_are_shared_evenly_or_not_at_all() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&[("train.micro_batch_size", "4")]);
    let error = sandbox.run("run", &config, &Thread::pair(), false, None).unwrap_err().to_string();
    assert!(error.starts_with("a step has 1 micro-batches, which 2 processes cannot share"), "{error}");
    assert!(!sandbox.out("run").exists());
}
