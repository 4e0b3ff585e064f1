//! `cargo xtask demo`: a manager and three agents as separate processes, talking over mutual TLS, and what one
//! can do with them. It fails when any step does not do what it says.
//!
//! [`story`] is what is shown; [`world`] makes the throw-away certificates and configurations; [`children`] looks
//! after the processes, which end with this program, however it ends; [`command`] runs `rpctl` for all to see.

mod children;
mod command;
mod story;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::demo::world::World;
use crate::workspace::Workspace;

/// Builds the programs, tells the story, and cleans up; with `keep` it leaves the daemons running instead.
///
/// # Errors
/// The first step that did not do what it says. Everything is stopped and removed then, too.
pub(crate) fn run(workspace: &Workspace, keep: bool) -> anyhow::Result<ExitCode> {
    println!("Building the programs (the first time takes a few minutes) …");
    workspace.run_cargo(&[
        "build",
        "-p",
        "redpoll-manager",
        "-p",
        "redpoll-agent",
        "-p",
        "rpctl",
        "--bins",
    ])?;
    let interrupted = Interrupt::watch()?;
    let mut world = World::new(&workspace.target()?.join("debug"), interrupted)?;
    let told = story::tell(&mut world);
    if told.is_err() {
        world.show_logs();
        // all at once; dropping the world then waits for them
        world.ask_all_to_end();
    }
    told?;
    if keep {
        world.keep();
    } else {
        story::part("Goodbye: a polite end for everybody (SIGTERM)");
        world.end()?;
        println!("\nThat was Redpoll. `cargo xtask demo --keep` leaves it running for you.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether somebody pressed Ctrl-C, or asked this program to end in another way.
#[derive(Debug, Clone)]
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on a signal ends nothing by itself; everybody who waits asks [`Interrupt::check`].
    fn watch() -> anyhow::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("cannot watch for signals")?;
        }
        Ok(Self(flag))
    }

    /// # Errors
    /// When a signal came.
    fn check(&self) -> anyhow::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    #[cfg(test)]
    fn never() -> Self {
        Self(Arc::default())
    }
}
