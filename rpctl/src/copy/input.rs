//! Standard input, which may give nothing for as long as it likes.

use std::io::{self, Read};
use std::path::Path;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::local::{failed, fill};
use super::remote::Failure;
use crate::exit::Exit;
use crate::report::Report;

/// What is read on a thread of its own: it may give nothing for as long as it likes.
pub(super) struct Input {
    input: Option<Given>,
    reading: Option<JoinHandle<(Given, Filled)>>,
    deadline: Option<Instant>,
}

type Given = Box<dyn Read + Send>;
/// Bytes, and whether that was the end.
type Filled = io::Result<(Vec<u8>, bool)>;

/// So many bytes, or what is left, and whether that was the end.
pub(super) fn filled(source: &mut dyn Read, wants: usize) -> Filled {
    let mut data = vec![0; wants];
    let len = fill(source, &mut data)?;
    data.truncate(len);
    Ok((data, len < wants))
}

impl Input {
    /// Reads from `input`; what it does not give by the deadline is not waited for.
    pub(super) fn new(input: impl Read + Send + 'static, deadline: Option<Instant>) -> Self {
        Self { input: Some(Box::new(input)), reading: None, deadline }
    }

    /// What was begun to be read comes first, whatever is wanted by now.
    pub(super) async fn read(&mut self, wants: usize) -> Result<(Vec<u8>, bool), Failure> {
        let failed = |error| failed("read", Path::new("standard input"), error);
        if let Some(mut input) = self.input.take() {
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let data = filled(&mut input, wants);
                (input, data)
            }));
        }
        let Some(reading) = &mut self.reading else { return Ok((Vec::new(), true)) };
        let read = match self.deadline {
            Some(deadline) => match timeout_at(deadline, reading).await {
                Ok(read) => read,
                Err(_elapsed) => return Err(late()),
            },
            None => reading.await,
        };
        self.reading = None;
        let (input, data) = read.map_err(|error| failed(io::Error::other(error)))?;
        self.input = Some(input);
        data.map_err(failed)
    }
}

fn late() -> Failure {
    let why = "standard input had not ended; nothing is in its place";
    Box::new(Report::new(
        Exit::TimedOut,
        "the time of --timeout is over",
        why,
        "give it longer with --timeout DUR",
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Gives what it is sent, a piece at a time.
    struct Pieces(mpsc::Receiver<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Ok(piece) = self.0.recv() else { return Ok(0) };
            buffer.get_mut(..piece.len()).unwrap().copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    /// A read that was begun for a small chunk is no end when a larger one is wanted meanwhile.
    #[tokio::test]
    async fn what_standard_input_gives_ends_where_it_ends() {
        let (say, given) = mpsc::sync_channel(4);
        let mut input = Input::new(Pieces(given), None);
        tokio::select! {
            biased;
            _ = input.read(4) => panic!("nothing has come"),
            () = std::future::ready(()) => {}
        }
        say.send(b"abcd".to_vec()).unwrap();
        assert_eq!(input.read(8).await.unwrap(), (b"abcd".to_vec(), false));
        say.send(b"ef".to_vec()).unwrap();
        drop(say);
        assert_eq!(input.read(8).await.unwrap(), (b"ef".to_vec(), true));
        assert_eq!(input.read(8).await.unwrap(), (Vec::new(), true));
    }

    #[tokio::test]
    async fn a_silent_standard_input_is_not_waited_for_beyond_the_deadline() {
        let (_say, given) = mpsc::sync_channel(4);
        let deadline = Some(Instant::now());
        let mut input = Input::new(Pieces(given), deadline);
        assert_eq!(input.read(8).await.unwrap_err().exit, Exit::TimedOut);
        // the thread that reads ends with what it reads from
    }
}
