//! How many runs of a procedure at a time: they hold their places whatever becomes of its description meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// What nobody says a number for: more than there will be.
const UNBOUNDED: usize = Semaphore::MAX_PERMITS;

/// The places of one procedure, by its name and version, for all definitions of it that follow each other.
#[derive(Debug)]
pub struct Places {
    free: Semaphore,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    /// How many there are.
    all: usize,
    /// How many of those that are taken are gone when they are given back: there were more when they were taken.
    owed: usize,
}

impl Places {
    /// So many; `None`: no number of its own.
    pub(super) fn new(count: Option<usize>) -> Self {
        let all = count.unwrap_or(UNBOUNDED);
        Self { free: Semaphore::new(all), size: Mutex::new(Size { all, owed: 0 }) }
    }

    /// Changes how many there are. What is taken stays taken, and counts.
    pub(super) fn resize(&self, count: Option<usize>) {
        let all = count.unwrap_or(UNBOUNDED);
        let mut size = self.size();
        if let Some(more) = all.checked_sub(size.all) {
            let kept = more.min(size.owed);
            size.owed -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = size.all - all;
            size.owed += fewer - self.free.forget_permits(fewer);
        }
        size.all = all;
    }

    /// How many nobody has.
    pub(super) fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Takes one that is free.
    pub(super) fn try_take(&self) -> Option<Place<'_>> {
        self.taken(self.free.try_acquire().ok()?)
    }

    /// Waits for one, in the order of those who do.
    ///
    /// # Errors
    /// Never: they are not closed.
    pub(super) async fn take(&self) -> Result<Place<'_>, AcquireError> {
        loop {
            let permit = self.free.acquire().await?;
            if let Some(place) = self.taken(permit) {
                return Ok(place);
            }
        }
    }

    /// `None`: it is one of those that are gone. Somebody who waited was handed it, and did not wait any more.
    fn taken<'p>(&'p self, permit: SemaphorePermit<'p>) -> Option<Place<'p>> {
        let mut size = self.size();
        if size.owed > 0 {
            size.owed -= 1;
            permit.forget();
            return None;
        }
        drop(size);
        Some(Place { places: self, permit: Some(permit) })
    }

    fn size(&self) -> MutexGuard<'_, Size> {
        // nothing panics while it holds the lock
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'p> {
    places: &'p Places,
    permit: Option<SemaphorePermit<'p>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut size = self.places.size();
        if size.owed > 0 {
            size.owed -= 1;
            permit.forget();
        }
        // otherwise it is free from here on, or goes to whoever waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that are free now.
    fn take_all(places: &Places) -> Vec<Place<'_>> {
        std::iter::from_fn(|| places.try_take()).collect()
    }

    #[test]
    fn what_is_taken_counts_when_there_are_fewer_and_when_there_are_more() {
        let places = Places::new(Some(4));
        let mut held = take_all(&places);
        places.resize(Some(1));
        for left in [3, 2, 1] {
            assert_eq!((held.len(), take_all(&places).len()), (left + 1, 0));
            held.pop();
        }
        assert_eq!(take_all(&places).len(), 0, "the one that is left has the one place");
        held.clear();
        assert_eq!(take_all(&places).len(), 1);

        let mut held = take_all(&places);
        places.resize(Some(3));
        assert_eq!((held.len(), take_all(&places).len()), (1, 2));
        held.extend(take_all(&places));
        places.resize(Some(1));
        places.resize(Some(2));
        held.pop();
        assert_eq!((held.len(), take_all(&places).len()), (2, 0));
        held.pop();
        assert_eq!((held.len(), take_all(&places).len()), (1, 1));
    }

    #[test]
    fn what_runs_without_a_number_counts_when_there_is_one() {
        let places = Places::new(None);
        let mut held: Vec<_> = (0..3).map(|_| places.try_take().unwrap()).collect();
        places.resize(Some(2));
        assert_eq!(take_all(&places).len(), 0);
        held.truncate(1);
        assert_eq!(take_all(&places).len(), 1);
        places.resize(None);
        assert!(places.try_take().is_some() && places.free() == UNBOUNDED - 1);
    }

    #[tokio::test]
    async fn a_place_that_is_gone_is_nobodys_who_waited_and_went() {
        let places = Places::new(Some(2));
        let mut held = take_all(&places);
        let mut waits = Box::pin(places.take());
        assert!(polled(waits.as_mut()).is_none());
        // handed to the one that waits, which does not take it
        held.pop();
        places.resize(Some(1));
        drop(waits);
        assert!(places.try_take().is_none(), "the other one runs");
        held.clear();
        assert_eq!(take_all(&places).len(), 1);
    }

    fn polled<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
