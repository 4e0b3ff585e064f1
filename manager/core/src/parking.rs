//! Operators' legs that wait for the agent's: see [`redpoll_common::leg`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use redpoll_common::ids::PeerId;
use redpoll_common::leg::Ticket;

/// Why a leg cannot wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParkError {
    /// Somebody waits with this ticket.
    #[error("the ticket is in use")]
    TicketInUse,
    /// As many wait as may.
    #[error("{max} legs wait already")]
    Full {
        /// How many may.
        max: usize,
    },
}

/// Those that wait. `T` is what the agent's leg is handed to.
#[derive(Debug)]
pub struct Parking<T> {
    waiting: HashMap<Ticket, (PeerId, T)>,
    max: usize,
}

impl<T> Parking<T> {
    /// Room for `max`.
    pub fn new(max: usize) -> Self {
        Self { waiting: HashMap::new(), max }
    }

    /// From now on a leg waits under `ticket` for one of `agent`.
    ///
    /// # Errors
    /// [`ParkError`]; who waits under that ticket is not touched.
    pub fn park(&mut self, ticket: Ticket, agent: PeerId, waiting: T) -> Result<(), ParkError> {
        let (there, max) = (self.waiting.len(), self.max);
        match self.waiting.entry(ticket) {
            Entry::Occupied(_) => Err(ParkError::TicketInUse),
            Entry::Vacant(_) if there >= max => Err(ParkError::Full { max }),
            Entry::Vacant(room) => {
                room.insert((agent, waiting));
                Ok(())
            }
        }
    }

    /// Gives the leg that waits under `ticket` for `agent`, once. Another agent gets nothing, and takes nothing away.
    pub fn join(&mut self, ticket: &Ticket, agent: &PeerId) -> Option<T> {
        let (wanted, _) = self.waiting.get(ticket)?;
        if wanted != agent {
            return None;
        }
        self.waiting.remove(ticket).map(|(_, waiting)| waiting)
    }

    /// Nobody waits under `ticket` any more.
    pub fn leave(&mut self, ticket: &Ticket) {
        self.waiting.remove(ticket);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::*;

    fn agent(name: &str) -> PeerId {
        PeerId::parse(name).unwrap()
    }

    #[test]
    fn a_ticket_is_good_for_one_agent_once() {
        let mut parking = Parking::new(2);
        let ticket = Ticket::new([1; 16]);
        parking.park(ticket, agent("web-1"), "ada").unwrap();
        assert_eq!(parking.park(ticket, agent("web-2"), "eve"), Err(ParkError::TicketInUse));
        assert_eq!(parking.join(&Ticket::new([2; 16]), &agent("web-1")), None);
        assert_eq!(parking.join(&ticket, &agent("web-2")), None, "it is not for this one");
        assert_eq!(parking.join(&ticket, &agent("web-1")), Some("ada"));
        assert_eq!(parking.join(&ticket, &agent("web-1")), None, "not twice");
        assert_eq!(parking.waiting(), 0);
    }

    #[test]
    fn there_is_room_for_so_many_and_those_who_leave_make_some() {
        let mut parking = Parking::new(2);
        for n in 1..=2 {
            parking.park(Ticket::new([n; 16]), agent("web-1"), n).unwrap();
        }
        assert_eq!(parking.park(Ticket::new([3; 16]), agent("web-1"), 3), Err(ParkError::Full { max: 2 }));
        parking.leave(&Ticket::new([1; 16]));
        parking.leave(&Ticket::new([9; 16]));
        parking.park(Ticket::new([3; 16]), agent("web-1"), 3).unwrap();
        assert_eq!(parking.join(&Ticket::new([2; 16]), &agent("web-1")), Some(2));
        assert_eq!(
            Parking::new(0).park(Ticket::new([1; 16]), agent("web-1"), ()),
            Err(ParkError::Full { max: 0 })
        );
    }
}
