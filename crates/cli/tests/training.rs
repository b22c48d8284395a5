//! The binary trains: killed and interrupted at moments nobody chose, it loses nothing saved, and what `--resume` makes
//! of it is the same, bit for bit, as a run that was left alone; and its memory does not grow.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Enough steps that most kills come in the middle of something.
const STEPS: u64 = 400;

/// A folder for runs that begin alike.
struct Sandbox {
    dir: tempfile::TempDir,
    /// `train` or `finetune`.
    command: &'static str,
    /// What it begins with.
    arguments: Vec<String>,
}

impl Sandbox {
    /// Runs of pretraining.
    fn new(steps: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let line = |i: u32| format!("The {} cat sees dog number {}.\n", i % 7, i * i % 31);
        std::fs::write(dir.path().join("text.txt"), (0..400).map(line).collect::<String>()).unwrap();
        let max_steps = format!("train.max_steps={steps}");
        let settings = [
            "data.cache_dir=cache",
            "tokenizer.kind=char",
            "model.hidden_size=32",
            "model.num_layers=2",
            "model.num_heads=2",
            "model.context_length=32",
            "model.dropout.residual=0.1",
            "train.batch_size=4",
            "train.checkpoint_every=20",
            "eval.every=30",
            "eval.windows=8",
            "sample.tokens=0",
            &max_steps,
        ];
        Self { dir, command: "train", arguments: arguments(&["--data", "text.txt"], &settings) }
    }

    /// Runs that train an adapter of a tiny model.
    fn of_adapters(steps: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let line = |i: u32| format!("{{\"prompt\": \"Cat {}?\", \"completion\": \" No. {}\"}}\n", i, i * i % 31);
        std::fs::write(dir.path().join("samples.jsonl"), (0..100).map(line).collect::<String>()).unwrap();
        let tiny = tiny();
        let max_steps = format!("train.max_steps={steps}");
        let settings = [
            "lora.dropout=0.1",
            "optimizer.lr=1e-3",
            "train.batch_size=2",
            "train.checkpoint_every=20",
            "eval.every=30",
            "eval.patience=1000",
            &max_steps,
        ];
        let given = ["--data", "samples.jsonl", "--method", "lora", "--model", tiny.to_str().unwrap()];
        Self { dir, command: "finetune", arguments: arguments(&given, &settings) }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the run, or goes on with it where it has left its configuration.
    fn start(&self, name: &str) -> Child {
        self.start_with(name, &["--quiet"])
    }

    /// The same with further arguments.
    fn start_with(&self, name: &str, more: &[&str]) -> Child {
        let mut command = program();
        command.current_dir(&self.dir).args([self.command, "--device", "cpu", "--out", name]).args(more);
        if self.out(name).join("training/config.toml").exists() {
            command.arg("--resume");
        } else {
            command.args(&self.arguments);
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs to the end; returns how long that took.
    fn whole(&self, name: &str) -> Duration {
        let begin = Instant::now();
        let output = self.start(name).wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        begin.elapsed()
    }
}

/// The model that adapters are trained on.
fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/merge.in/tiny")
}

/// The binary, which a closed terminal reaches even where the tests themselves were started to outlive theirs.
fn program() -> Command {
    let binary = env!("CARGO_BIN_EXE_llm");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    if u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 0 {
        return Command::new(binary);
    }
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", binary]);
    command
}

/// `given`, and settings.
fn arguments(given: &[&str], settings: &[&str]) -> Vec<String> {
    let set = settings.iter().flat_map(|setting| ["--set", setting]);
    given.iter().copied().chain(set).map(ToOwned::to_owned).collect()
}

/// Ends by itself within `time`, or gets `signal`: then the second part is true.
fn interrupt_after(mut child: Child, time: Duration, signal: Signal) -> (Output, bool) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        if child.try_wait().unwrap().is_some() {
            return (child.wait_with_output().unwrap(), false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    (child.wait_with_output().unwrap(), true)
}

/// Numbers that differ from run to run of this test; a failure prints them.
struct Moments(u64);

impl Moments {
    fn of_now() -> Self {
        Self(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() & 0xFFFF_FFFF).unwrap())
    }

    /// Up to `longest`, evenly.
    fn next(&mut self, longest: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        longest.mul_f64((self.0 >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// Every line of the metrics, without times and memory.
fn metrics(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("training/metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        let object = value.as_object_mut().unwrap();
        for key in ["tokens_per_s", "flops_utilization", "peak_rss_mib", "seconds"] {
            object.remove(key);
        }
        value
    };
    text.lines().map(line).collect()
}

/// What a run makes, the weights that it goes on from first.
const MODEL: [&str; 4] = ["model.safetensors", "model.safetensors", "tokenizer.json", "config.json"];
const ADAPTER: [&str; 3] = ["trained.safetensors", "adapter_model.safetensors", "adapter_config.json"];

fn assert_same_run(ours: &Path, whole: &Path, files: &[&str]) {
    let (weights, files) = files.split_first().unwrap();
    assert_eq!(metrics(ours), metrics(whole));
    let same = |file: &Path| {
        let [ours, whole] = [ours, whole].map(|out| std::fs::read(out.join(file)).unwrap());
        assert!(ours == whole, "{} differs", file.display());
    };
    let checkpoint = PathBuf::from(format!("training/checkpoints/step-{STEPS:08}"));
    files.iter().for_each(|file| same(Path::new(file)));
    [*weights, "optimizer.safetensors"].iter().for_each(|file| same(&checkpoint.join(file)));
}

/// Loads the model or the adapter in a run directory, if there is one, and says whether there was.
fn assert_loads(out: &Path) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm"));
    match (out.join("model.safetensors").exists(), out.join("adapter_model.safetensors").exists()) {
        (true, _) => command.args(["inspect", "weights", "--model"]).arg(out),
        (_, true) => command
            .args(["generate", "--prompt", "Cat", "--max-tokens", "1", "--model"])
            .arg(tiny())
            .arg("--adapter-path")
            .arg(out),
        _ => return false,
    };
    let output = command.args(["--device", "cpu"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

/// Kills a run at random moments until it ends, and compares what it made with what one that was left alone made.
fn kill_and_compare(sandbox: &Sandbox, files: &[&str]) {
    let time = sandbox.whole("whole");
    let mut moments = Moments::of_now();
    println!("seed {}", moments.0);
    let mut kills = 0;
    loop {
        // Gives up killing in the end, for a machine so slow that no step is ever saved.
        let patience = if kills < 12 { moments.next(time.mul_f64(0.6)) } else { time * 100 };
        println!("killed after {patience:?}");
        let (output, killed) = interrupt_after(sandbox.start("killed"), patience, Signal::SIGKILL);
        if !killed {
            assert!(output.status.success(), "{}", output.status);
            break;
        }
        kills += 1;
        assert_loads(&sandbox.out("killed"));
    }
    assert!(kills > 0, "never killed in the middle");
    assert!(assert_loads(&sandbox.out("killed")), "nothing to load");
    assert_same_run(&sandbox.out("killed"), &sandbox.out("whole"), files);
}

#[test]
fn a_run_killed_at_random_moments_ends_as_if_left_alone() {
    kill_and_compare(&Sandbox::new(STEPS), &MODEL);
}

#[test]
fn fine_tuning_killed_at_random_moments_ends_as_if_left_alone() {
    kill_and_compare(&Sandbox::of_adapters(STEPS), &ADAPTER);
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let sandbox = Sandbox::new(STEPS);
    let time = sandbox.whole("whole");
    let mut moments = Moments::of_now();
    println!("seed {}", moments.0);
    let mut interruptions = 0;
    for _ in 0..4 {
        // Not in the first moments, when the program has not yet asked to be told.
        let patience = time.mul_f64(0.1) + moments.next(time.mul_f64(0.3));
        println!("interrupted after {patience:?}");
        let (output, interrupted) = interrupt_after(sandbox.start_with("stopped", &[]), patience, Signal::SIGINT);
        if interrupted && output.status.code() != Some(0) {
            let shown = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(130), "{shown}");
            assert_loads(&sandbox.out("stopped"));
            // Or the last step was done.
            if shown.contains("stopped after step") {
                assert!(shown.contains("llm train --out stopped --resume"), "{shown}");
                interruptions += 1;
            }
        }
    }
    assert!(interruptions > 0, "never interrupted in the middle");
    sandbox.whole("stopped");
    assert_same_run(&sandbox.out("stopped"), &sandbox.out("whole"), &MODEL);
}

/// A closed terminal asks to save as Ctrl-C does, and does not disturb what was started to outlive it.
#[test]
fn a_closed_terminal_saves() {
    let sandbox = Sandbox::new(STEPS);
    let time = sandbox.whole("whole");
    let child = sandbox.start("closed");
    let lines = sandbox.out("closed").join("training/metrics.jsonl");
    while std::fs::read(&lines).map_or(0, |text| text.len()) < 2000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (output, _) = interrupt_after(child, Duration::ZERO, Signal::SIGHUP);
    assert_eq!(output.status.code(), Some(130), "{}", output.status);
    let saved = std::fs::read_dir(sandbox.out("closed").join("training/checkpoints")).unwrap().count();
    assert!(saved > 0, "nothing was saved");

    if cfg!(target_os = "linux") {
        let mut command = Command::new("sh");
        let resumed = "trap '' HUP; exec \"$0\" train --quiet --device cpu --out closed --resume";
        command.current_dir(&sandbox.dir).args(["-c", resumed, env!("CARGO_BIN_EXE_llm")]).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(time.mul_f64(0.3));
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGHUP).unwrap();
        assert!(child.wait().unwrap().success());
    } else {
        sandbox.whole("closed");
    }
    assert_same_run(&sandbox.out("closed"), &sandbox.out("whole"), &MODEL);
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow() {
    let sandbox = Sandbox::new(2000);
    sandbox.whole("run");
    let text = std::fs::read_to_string(sandbox.out("run").join("training/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let peak_at = |step: u64| {
        let line = lines.iter().find(|line| line["step"] == step && line.get("peak_rss_mib").is_some());
        line.unwrap()["peak_rss_mib"].as_f64().unwrap()
    };
    let [early, late] = [100, 2000].map(peak_at);
    // Counted in whole MiB, of which one may be rounding.
    assert!(late <= (early * 1.03).max(early + 1.0), "peak memory {early} MiB at step 100, {late} MiB at step 2,000");
}
