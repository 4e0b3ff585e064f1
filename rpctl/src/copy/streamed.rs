//! Files over connections of their own: a thread reads, hashes and sends, or receives, hashes and writes.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::Context;
use redpoll_common::wire::RawMap;
use redpoll_net::tls::{DataEnd, Stopped};

use super::Copy;
use super::download::strange;
use super::local::{failed, fill};
use super::meter::Counter;
use super::remote::{Failure, Looks, ReadEnd, There};
use super::stream::Connected;

impl Copy<'_> {
    /// Sends what is left of a file, `bytes` as it seems, and gives how many went. `None`: it shall go in calls.
    ///
    /// # Errors
    /// A [`Failure`]; what came there can be gone on with.
    pub(super) async fn upload_streamed(
        &self,
        (file, path): (&File, &Path),
        hash: &mut Context,
        bytes: u64,
        fill: impl FnOnce(RawMap) -> RawMap,
    ) -> Result<Option<u64>, Failure> {
        let Some(Connected { end, cutter, call }) = self.connect("file.write", bytes, fill).await? else {
            return Ok(None);
        };
        let file = file.try_clone().map_err(|error| failed("read", path, error))?;
        let (path, counter, sending) = (path.to_owned(), self.meter.counter(), hash.clone());
        let moving = tokio::task::spawn_blocking(move || send(file, &path, sending, end, &counter));
        let ((sent, after), answer) = self.both("file.write", call, cutter, moving).await?;
        let _there: There = self.remote.read("file.write", &answer)?;
        *hash = after;
        Ok(Some(sent))
    }

    /// Takes what is left of a file. `None`: it shall come in calls.
    ///
    /// # Errors
    /// A [`Failure`]
    pub(super) async fn download_streamed(
        &self,
        (source, looks, from): (&Path, &Looks, u64),
        hash: &mut Context,
        (file, path): (&File, &Path),
    ) -> Result<Option<ReadEnd>, Failure> {
        let left = looks.size - from;
        let connected = self.connect("file.read", left, looks.reading(source, from)).await?;
        let Some(Connected { end, cutter, call }) = connected else { return Ok(None) };
        let file = file.try_clone().map_err(|error| failed("write", path, error))?;
        let receiver = Receiver {
            agent: self.remote.agent.clone(),
            path: path.to_owned(),
            file,
            left,
            counter: self.meter.counter(),
        };
        let receiving = hash.clone();
        let moving = tokio::task::spawn_blocking(move || receiver.receive(end, receiving));
        let (after, answer) = self.both("file.read", call, cutter, moving).await?;
        *hash = after;
        Ok(Some(self.remote.read("file.read", &answer)?))
    }
}

/// Sends a file from where it stands to its end.
fn send(
    mut file: File,
    path: &Path,
    mut hash: Context,
    end: DataEnd,
    counter: &Counter,
) -> Result<(u64, Context), Stopped<Failure>> {
    let mut sent = 0;
    end.send(|block| {
        let read = fill(&mut file, block).map_err(|error| failed("read", path, error))?;
        hash.update(block.get(..read).unwrap_or_default());
        let len = u64::try_from(read).unwrap_or(0);
        sent += len;
        counter.copied(len);
        Ok(read)
    })?;
    Ok((sent, hash))
}

/// Takes a file.
struct Receiver {
    agent: String,
    path: PathBuf,
    file: File,
    left: u64,
    counter: Counter,
}

impl Receiver {
    fn receive(mut self, end: DataEnd, mut hash: Context) -> Result<Context, Stopped<Failure>> {
        end.receive(|bytes| {
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if len > self.left {
                return Err(strange(&self.agent, "more bytes came than the file has"));
            }
            hash.update(bytes);
            self.file.write_all(bytes).map_err(|error| failed("write", &self.path, error))?;
            self.left -= len;
            self.counter.copied(len);
            Ok(())
        })?;
        if self.left > 0 {
            return Err(Stopped::Here(strange(&self.agent, "fewer bytes came than the file has")));
        }
        Ok(hash)
    }
}
