//! Files over connections of their own: a thread reads, hashes and sends, or receives, hashes and writes.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::Context;
use redpoll_common::wire::RawMap;
use redpoll_net::tls::DataEnd;

use super::Copy;
use super::download::strange;
use super::local::{BLOCK, failed, fill};
use super::meter::Counter;
use super::remote::{Failure, Looks, ReadEnd, There};
use super::stream::{Broken, Connected};

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
    mut end: DataEnd,
    counter: &Counter,
) -> Result<(u64, Context), Broken> {
    let (mut block, mut sent) = (vec![0; BLOCK], 0);
    loop {
        let read = fill(&mut file, &mut block).map_err(|error| Broken::Here(failed("read", path, error)))?;
        let Some(bytes) = block.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
        end.write_all(bytes).map_err(Broken::Connection)?;
        let len = u64::try_from(read).unwrap_or(0);
        sent += len;
        counter.copied(len);
    }
    end.finish().map_err(Broken::Connection)?;
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
    fn receive(mut self, mut end: DataEnd, mut hash: Context) -> Result<Context, Broken> {
        let mut block = vec![0; BLOCK];
        loop {
            let (len, over) = take(&mut end, &mut block).map_err(Broken::Connection)?;
            let bytes = block.get(..len).unwrap_or_default();
            let len = u64::try_from(len).unwrap_or(u64::MAX);
            if len > self.left {
                return Err(self.strange("more bytes came than the file has"));
            }
            hash.update(bytes);
            let written = self.file.write_all(bytes);
            written.map_err(|error| Broken::Here(failed("write", &self.path, error)))?;
            self.left -= len;
            self.counter.copied(len);
            if over && self.left > 0 {
                return Err(self.strange("fewer bytes came than the file has"));
            }
            if over {
                return Ok(hash);
            }
        }
    }

    fn strange(&self, why: &str) -> Broken {
        Broken::Here(strange(&self.agent, why))
    }
}

/// Fills a block, unless it is over before.
fn take(end: &mut DataEnd, block: &mut [u8]) -> std::io::Result<(usize, bool)> {
    let mut len = 0;
    while let Some(rest) = block.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match end.read(rest) {
            Ok(0) => return Ok((len, true)),
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // what came before it is a part of the file, and can be gone on with
            Err(_) if len > 0 => return Ok((len, false)),
            Err(error) => return Err(error),
        }
    }
    Ok((len, false))
}
