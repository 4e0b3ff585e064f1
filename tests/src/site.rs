//! A world whose agent gives and takes files beneath a folder, and `rpctl cp` in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use crate::world::World;
use crate::{eventually, within};

/// The world and the folder.
#[derive(Debug)]
pub struct Site {
    /// The world.
    pub world: World,
    /// What its agents read and write.
    pub root: PathBuf,
}

impl Site {
    /// One whose manager has these settings, without an agent.
    ///
    /// # Panics
    /// When the manager does not start.
    pub async fn bare(manager: &[&str]) -> Self {
        let world = World::quiet(manager).await;
        let root = world.directory().join("root");
        fs::create_dir(&root).expect("a folder");
        Self { world, root }
    }

    /// The settings of an agent here, and more.
    pub fn settings(&self, more: &[&str]) -> Vec<String> {
        let root = self.root.display();
        let own = [
            "procedures.builtin=sys.*,exec.run,file.*".to_owned(),
            format!("files.read={root}"),
            format!("files.write={root}"),
        ];
        own.into_iter().chain(more.iter().map(|&setting| setting.to_owned())).collect()
    }

    /// Starts an agent with these settings beside its own.
    pub async fn agent(&mut self, id: &str, more: &[&str]) {
        let settings = self.settings(more);
        self.world.agent(id, &settings.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// Kills an agent, and starts it again with these settings beside its own.
    pub async fn restart_agent(&mut self, id: &str, more: &[&str]) {
        let settings = self.settings(more);
        self.world.restart_agent(id, &settings.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// A path of the operator's.
    pub fn local(&self, name: &str) -> PathBuf {
        self.world.directory().join(name)
    }

    /// A name in the folder, as `rpctl cp` takes it.
    pub fn remote(&self, agents: &str, name: &str) -> String {
        format!("{agents}:{}", self.root.join(name).display())
    }

    /// Runs `rpctl cp` to its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn cp(&self, words: &[&str]) -> Output {
        let mut command = self.world.rpctl();
        command.arg("cp").args(words);
        within(Duration::from_secs(120), "the end of rpctl cp", command.output()).await.expect("rpctl")
    }

    /// Runs it, and expects this exit code and these words.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub async fn bad(&self, words: &[&str], code: i32, said: &str) {
        let output = self.cp(words).await;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
        assert!(error.contains(said), "{said:?} is not in {error}");
    }

    /// What lies in the folder.
    pub fn names(&self) -> Vec<String> {
        names(&self.root)
    }
}

/// What lies in a folder, sorted.
///
/// # Panics
/// When it cannot be read.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("a name").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What a program said.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that are at no two places the same for long.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from((n * 31 + n / 4099) % 251).expect("less than 251")).collect()
}

/// A path as a word of a command line.
///
/// # Panics
/// When it is no UTF-8.
pub fn word(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Waits until a part of an upload is there, and gives its size.
pub async fn part(folder: &Path, prefix: &str, least: u64) -> u64 {
    eventually("a part of the file is there", async || {
        let entries = fs::read_dir(folder).ok()?.flatten();
        let part =
            entries.into_iter().find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))?;
        let size = part.metadata().ok()?.len();
        (size >= least).then_some(size)
    })
    .await
}
