//! Places for calls: so many for all, and a few more for what looks after the machine.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places that are kept for procedures with `admin = true`, and as many for `sys.*`: neither takes those of the other.
pub const RESERVE: usize = 4;

/// What a call is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Of a procedure like any other.
    Ordinary,
    /// Of one that looks after the machine.
    Admin,
    /// Of one that is part of Redpoll itself, which every operator may call.
    System,
}

/// Places for calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Places {
    limit: usize,
    all: Arc<Semaphore>,
    admin: Arc<Semaphore>,
    system: Arc<Semaphore>,
}

impl Places {
    /// So many for all, and the reserves.
    pub fn new(limit: usize) -> Self {
        let [all, admin, system] = [limit, RESERVE, RESERVE].map(|places| Arc::new(Semaphore::new(places)));
        Self { limit, all, admin, system }
    }

    /// How many there are for all.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        let free = [&self.all, &self.admin, &self.system].map(|places| places.available_permits());
        (self.limit + 2 * RESERVE).saturating_sub(free.iter().sum())
    }

    /// A place, if there is one.
    pub fn take(&self, claim: Claim) -> Option<OwnedSemaphorePermit> {
        let place = self.all.clone().try_acquire_owned().ok();
        place.or_else(|| self.reserve(claim)?.clone().try_acquire_owned().ok())
    }

    /// A place, as soon as there is one. `None` never comes while there is a clone of these: nobody closes them.
    pub async fn wait(&self, claim: Claim) -> Option<OwnedSemaphorePermit> {
        let all = self.all.clone().acquire_owned();
        let Some(reserve) = self.reserve(claim) else { return all.await.ok() };
        tokio::select! {
            biased; // the reserve is for when nothing else is left
            place = all => place.ok(),
            place = reserve.clone().acquire_owned() => place.ok(),
        }
    }

    fn reserve(&self, claim: Claim) -> Option<&Arc<Semaphore>> {
        match claim {
            Claim::Ordinary => None,
            Claim::Admin => Some(&self.admin),
            Claim::System => Some(&self.system),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_all_calls_nor_those_of_the_system_take_the_places_of_admin_ones() {
        let places = Places::new(2);
        let _all = [places.take(Claim::Ordinary).unwrap(), places.take(Claim::Ordinary).unwrap()];
        assert!(places.take(Claim::Ordinary).is_none());
        let system: Vec<_> = std::iter::from_fn(|| places.take(Claim::System)).collect();
        let admin: Vec<_> = std::iter::from_fn(|| places.take(Claim::Admin)).collect();
        assert_eq!((system.len(), admin.len(), places.taken()), (RESERVE, RESERVE, 2 + 2 * RESERVE));
        drop((system, admin));
        assert_eq!(places.taken(), 2);
    }

    #[tokio::test]
    async fn what_looks_after_the_machine_does_not_wait_for_the_others() {
        let places = Places::new(1);
        let _all = places.wait(Claim::Ordinary).await.unwrap();
        let _admin = places.wait(Claim::Admin).await.unwrap();
        tokio::select! {
            biased;
            _place = places.wait(Claim::Ordinary) => unreachable!("there is no place for it"),
            () = std::future::ready(()) => {}
        }
    }
}
