//! A file's bytes over a [`DataEnd`], with two threads: one reads or writes the file and hashes, the other encrypts and sends, or receives and
//! decrypts. With one thread for both, the slower end of a transfer would be as slow as all it does together.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, scope};

use super::data::DataEnd;

/// Bytes that pass from one thread to the other at once.
const BLOCK: usize = 256 * 1024;
/// Blocks there are: one at each thread, and two between them.
const BLOCKS: usize = 4;

/// Why bytes do not move any more.
#[derive(Debug)]
pub enum Stopped<E> {
    /// Whoever gives or takes them failed.
    Here(E),
    /// The connection broke, or ended without a goodbye.
    Connection(io::Error),
}

/// A block, how much of it is filled, and whether it is the last, and why.
type Filled = (Vec<u8>, usize, Option<io::Result<()>>);

impl DataEnd {
    /// Gives all that comes to `take`, in order, until the other end says that it was all, and gives the connection back for the
    /// [receipt](DataEnd::say_receipt). Blocks, and makes a thread meanwhile; a [`Cutter`](super::Cutter) ends it from outside.
    ///
    /// # Errors
    /// [`Stopped`]. What came before the connection broke was given to `take`.
    pub fn receive<E>(self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<Self, Stopped<E>> {
        let cutter = self.cutter().map_err(Stopped::Connection)?;
        let (free, used, filled, taken) = channels();
        // moved in, so that all ends are gone when it returns: the other thread may wait for a block, or for room
        scope(move |scope| {
            let receiving = Builder::new().name("file-net".to_owned());
            let receiving = receiving.spawn_scoped(scope, move || receive(self, &used, &filled));
            let receiving = receiving.map_err(Stopped::Connection)?;
            // or for bytes
            let cutter = cutter;
            for (block, len, ended) in taken {
                take(block.get(..len).unwrap_or_default()).map_err(Stopped::Here)?;
                match ended {
                    // it may have ended meanwhile, and says so in the next block
                    None => drop(free.send(block)),
                    Some(Err(error)) => return Err(Stopped::Connection(error)),
                    Some(Ok(())) => {
                        let end = receiving.join().map_err(|_| Stopped::Connection(panicked()))?;
                        cutter.release();
                        return Ok(end);
                    }
                }
            }
            Err(Stopped::Connection(panicked()))
        })
    }

    /// Sends what `give` puts into the blocks it gets, until it puts nothing, says that it was all, and gives the connection back for the
    /// [receipt](DataEnd::hear_receipt). Blocks, and makes a thread meanwhile; a [`Cutter`](super::Cutter) ends it from outside.
    ///
    /// # Errors
    /// [`Stopped`]. The other end takes it for a break.
    pub fn send<E>(self, mut give: impl FnMut(&mut [u8]) -> Result<usize, E>) -> Result<Self, Stopped<E>> {
        let cutter = self.cutter().map_err(Stopped::Connection)?;
        let (free, empty, filled, given) = channels();
        scope(move |scope| {
            let sending = Builder::new().name("file-net".to_owned());
            let sending = sending.spawn_scoped(scope, move || send(self, &given, &free));
            let sending = sending.map_err(Stopped::Connection)?;
            // the other thread says that it was all when there is no `filled`; `cutter` goes before it, so that what is half sent
            // never looks whole
            let filled = filled;
            let cutter = cutter;
            // no more blocks: the other thread has failed, and says why
            while let Ok(mut block) = empty.recv() {
                let len = give(&mut block).map_err(Stopped::Here)?;
                if len == 0 || filled.send((block, len, None)).is_err() {
                    break;
                }
            }
            drop(filled);
            let sent = sending.join().unwrap_or_else(|_| Err(panicked()));
            cutter.release();
            sent.map_err(Stopped::Connection)
        })
    }
}

fn panicked() -> io::Error {
    io::Error::other("the thread of the connection ended")
}

type Channels = (SyncSender<Vec<u8>>, Receiver<Vec<u8>>, SyncSender<Filled>, Receiver<Filled>);

/// Blocks go round: empty ones one way, filled ones the other.
fn channels() -> Channels {
    let (free, empty) = sync_channel(BLOCKS);
    let (filled, given) = sync_channel(BLOCKS);
    for _ in 0..BLOCKS {
        // there is room for all of them
        let _room = free.try_send(vec![0; BLOCK]);
    }
    (free, empty, filled, given)
}

fn receive(mut end: DataEnd, empty: &Receiver<Vec<u8>>, filled: &SyncSender<Filled>) -> DataEnd {
    while let Ok(mut block) = empty.recv() {
        let (len, ended) = fill(&mut end, &mut block);
        let is_last = ended.is_some();
        if filled.send((block, len, ended)).is_err() || is_last {
            break;
        }
    }
    end
}

/// Reads until the block is full or nothing more comes, and then why.
fn fill(end: &mut DataEnd, block: &mut [u8]) -> (usize, Option<io::Result<()>>) {
    let mut len = 0;
    while let Some(rest) = block.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match end.read(rest) {
            Ok(0) => return (len, Some(Ok(()))),
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (len, Some(Err(error))),
        }
    }
    (len, None)
}

fn send(mut end: DataEnd, given: &Receiver<Filled>, free: &SyncSender<Vec<u8>>) -> io::Result<DataEnd> {
    while let Ok((block, len, _)) = given.recv() {
        end.write_all(block.get(..len).unwrap_or_default())?;
        // nobody wants it any more when it was the last
        drop(free.send(block));
    }
    end.finish()?;
    Ok(end)
}
