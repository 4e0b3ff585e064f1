//! The program that the jobs of a torture run: it tells a file outside the product what it does.
//!
//! `redpoll-oracle FILE LINES EACH_MS WAIT_MS EXIT` first adds a line to FILE and has it on disk; then it writes LINES numbered
//! lines, waits, adds its last line to FILE and exits with EXIT. SIGTERM ends it early. Nothing keeps it for long: its agent
//! may be dead.

#![expect(clippy::print_stderr, reason = "who starts it by hand shall see what is missing")]

use std::process::ExitCode;
use std::time::Duration;

use redpoll_tests::torture::oracle::Mark;
use redpoll_tests::torture::order::Program;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((file, program)) = Program::parse(&arguments) else {
        eprintln!("redpoll-oracle FILE LINES EACH_MS WAIT_MS EXIT");
        return ExitCode::from(2);
    };
    let Some(mark) = Mark::own() else {
        eprintln!("redpoll-oracle runs in a job: REDPOLL_JOB and its like are missing");
        return ExitCode::from(2);
    };
    // before anything else: what is not in the file did not happen
    if mark.start(&file).is_err() {
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::from(2) };
    runtime.block_on(async {
        let Ok(mut term) = signal(SignalKind::terminate()) else { return ExitCode::from(2) };
        tokio::select! {
            biased;
            _told = term.recv() => {
                let _late = mark.stop(&file);
                ExitCode::from(143)
            }
            () = work(&program) => match mark.end(&file) {
                Ok(()) => ExitCode::from(program.exit),
                Err(_) => ExitCode::from(2),
            },
        }
    })
}

async fn work(program: &Program) {
    use std::io::Write as _;
    for n in 0..program.lines {
        // a dead agent reads nothing: that does not concern this program
        let _unread = std::io::stdout().write_all(Program::stdout_line(n).as_bytes());
        let _unread = std::io::stdout().flush();
        if let Some(line) = Program::stderr_line(n) {
            let _unread = std::io::stderr().write_all(line.as_bytes());
        }
        if program.each_ms > 0 {
            tokio::time::sleep(Duration::from_millis(program.each_ms.into())).await;
        }
    }
    if program.wait_ms > 0 {
        tokio::time::sleep(Duration::from_millis(program.wait_ms.into())).await;
    }
}
