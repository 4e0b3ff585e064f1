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
    waiting: HashMap<Ticket, (PeerId, u64, T)>,
    max: usize,
    parked: u64,
}

impl<T> Parking<T> {
    /// Room for `max`.
    pub fn new(max: usize) -> Self {
        Self { waiting: HashMap::new(), max, parked: 0 }
    }

    /// From now on a leg waits under `ticket` for one of `agent`; gives its number, with which it [leaves](Self::leave).
    ///
    /// # Errors
    /// [`ParkError`]; who waits under that ticket is not touched.
    pub fn park(&mut self, ticket: Ticket, agent: PeerId, waiting: T) -> Result<u64, ParkError> {
        let (there, max) = (self.waiting.len(), self.max);
        match self.waiting.entry(ticket) {
            Entry::Occupied(_) => Err(ParkError::TicketInUse),
            Entry::Vacant(_) if there >= max => Err(ParkError::Full { max }),
            Entry::Vacant(room) => {
                self.parked += 1;
                room.insert((agent, self.parked, waiting));
                Ok(self.parked)
            }
        }
    }

    /// Gives the leg that waits under `ticket` for `agent`, once. Another agent gets nothing, and takes nothing away.
    pub fn join(&mut self, ticket: &Ticket, agent: &PeerId) -> Option<T> {
        let (wanted, ..) = self.waiting.get(ticket)?;
        if wanted != agent {
            return None;
        }
        self.waiting.remove(ticket).map(|(.., waiting)| waiting)
    }

    /// The leg of this number does not wait under `ticket` any more. Another that does by now is not touched.
    pub fn leave(&mut self, ticket: &Ticket, number: u64) {
        if self.waiting.get(ticket).is_some_and(|(_, parked, _)| *parked == number) {
            self.waiting.remove(ticket);
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str) -> PeerId {
        PeerId::parse(name).unwrap()
    }

    #[test]
    fn a_ticket_is_good_for_one_agent_once() {
        let mut parking = Parking::new(2);
        let ticket = Ticket::new([1; 16]);
        let first = parking.park(ticket, agent("web-1"), "ada").unwrap();
        assert_eq!(parking.park(ticket, agent("web-2"), "eve"), Err(ParkError::TicketInUse));
        assert_eq!(parking.join(&Ticket::new([2; 16]), &agent("web-1")), None);
        assert_eq!(parking.join(&ticket, &agent("web-2")), None, "it is not for this one");
        assert_eq!(parking.join(&ticket, &agent("web-1")), Some("ada"));
        assert_eq!(parking.join(&ticket, &agent("web-1")), None, "not twice");
        assert_eq!(parking.waiting(), 0);
        parking.park(ticket, agent("web-1"), "ada again").unwrap();
        parking.leave(&ticket, first);
        assert_eq!(parking.waiting(), 1, "the first leaves, and not the one after it");
    }

    #[test]
    fn there_is_room_for_so_many_and_those_who_leave_make_some() {
        let mut parking = Parking::new(2);
        let first = parking.park(Ticket::new([1; 16]), agent("web-1"), 1).unwrap();
        parking.park(Ticket::new([2; 16]), agent("web-1"), 2).unwrap();
        assert_eq!(parking.park(Ticket::new([3; 16]), agent("web-1"), 3), Err(ParkError::Full { max: 2 }));
        parking.leave(&Ticket::new([1; 16]), first);
        parking.leave(&Ticket::new([9; 16]), first);
        parking.park(Ticket::new([3; 16]), agent("web-1"), 3).unwrap();
        assert_eq!(parking.join(&Ticket::new([2; 16]), &agent("web-1")), Some(2));
        assert_eq!(
            Parking::new(0).park(Ticket::new([1; 16]), agent("web-1"), ()),
            Err(ParkError::Full { max: 0 })
        );
    }
}
